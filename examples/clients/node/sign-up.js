// Signs somebody up, and does not give up:
//
//     node sign-up.js ada@example.org "Ada Lovelace" [REQUEST_ID]
//
// Prints one line of JSON per update. Exit codes: 0 confirmed, 1 refused, 2 usage, 3 not known in
// time; run it again with the request id that it printed, and it gets the answer.
// Settings: SEAWAY_TARGET (127.0.0.1:50051), SEAWAY_TIMEOUT (30 seconds).

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";

// The contracts as descriptors: nothing is generated, and no .proto file is copied.
const contracts = readFileSync(new URL("../../../proto/contracts.binpb", import.meta.url));
const asInProtos = { keepCase: true, enums: String, longs: String };
const types = loadFileDescriptorSetFromBuffer(contracts, asInProtos);
const { SignUpService } = grpc.loadPackageDefinition(types).acme.gateway.v1;

// CANCELLED, though we cancelled nothing, is what gRPC says of a call to a server that just stops.
const { UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, CANCELLED } = grpc.status;
const PASSING = [UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, CANCELLED];
const TRY_AGAIN_AFTER = [200, 400, 800, 1600, 3200]; // milliseconds; the last one repeats
const reconnecting = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
};

// Yields each update once, up to the outcome. Throws what asking again does not cure.
async function* updates(target, request, deadline) {
  const client = new SignUpService(target, grpc.credentials.createInsecure(), reconnecting);
  let token = "";
  let failed = 0;
  try {
    while (true) {
      // Until something was seen, ask the same again: the same request_id is the same request.
      const call = token
        ? client.WatchSignUp({ request_id: request.request_id, resume_token: token }, { deadline })
        : client.SignUp(request, { deadline });
      try {
        for await (const update of call) {
          if (BigInt(update.resume_token || 0) <= BigInt(token || 0)) continue; // a heartbeat
          token = update.resume_token;
          failed = 0;
          yield update;
        }
        return;
      } catch (error) {
        if (!PASSING.includes(error.code) || Date.now() >= deadline) throw error;
        console.error(`asking again: ${grpc.status[error.code]}`);
      } finally {
        call.cancel();
      }
      await pause(TRY_AGAIN_AFTER[Math.min(failed++, TRY_AGAIN_AFTER.length - 1)]);
    }
  } finally {
    client.close();
  }
}

const [email, display_name, request_id = randomUUID()] = process.argv.slice(2);
if (!display_name) {
  console.error("usage: node sign-up.js EMAIL NAME [REQUEST_ID]");
  process.exit(2);
}
const { SEAWAY_TARGET: target = "127.0.0.1:50051", SEAWAY_TIMEOUT: timeout = "30" } = process.env;
const deadline = Date.now() + Number(timeout) * 1000;
try {
  for await (const update of updates(target, { request_id, email, display_name }, deadline)) {
    console.log(JSON.stringify({ request_id: update.request_id, state: update.state }));
  }
} catch (error) {
  const unknown = error.code === grpc.status.DEADLINE_EXCEEDED;
  console.error(unknown ? `not known yet; ask again with ${request_id}` : error.details ?? error);
  process.exitCode = unknown ? 3 : 1;
}
