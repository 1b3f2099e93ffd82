// The one connection to the broker, and how a message is stored there exactly once.

import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import {
  connect as dial,
  credsAuthenticator,
  headers as newHeaders,
  type MsgHdrs,
  type NatsConnection,
  nkeyAuthenticator,
} from "@nats-io/transport-node";
import { DependencyDown, type Headers, type Posting } from "./envelope.ts";

const ANSWERED_WITHIN = 5000;
const READ_BACK_AFTER = [0, 50, 200, 500]; // milliseconds; a replica that lags may not have it yet
const ALREADY_STORED = 10077; // … if it is "per subject"; else the stream is full
const WRONG_LAST_SEQUENCE = 10071;

export async function connect(service: string): Promise<NatsConnection> {
  const { SEAWAY_NATS_URL = "nats://127.0.0.1:4222", SEAWAY_NATS_CREDENTIALS_FILE: file } =
    process.env;
  const us = file ? readFileSync(file) : undefined;
  return dial({
    servers: SEAWAY_NATS_URL.split(",").map((each) => each.trim()),
    name: service,
    inboxPrefix: `_INBOX_${service}`, // what it may listen to
    maxReconnectAttempts: -1,
    waitOnFirstConnect: true,
    pingInterval: 10_000,
    ...(us && {
      authenticator: us.toString().startsWith("SU")
        ? nkeyAuthenticator(new TextEncoder().encode(us.toString().trim()))
        : credsAuthenticator(us),
    }),
  });
}

// Stores a message for good, or finds that it was stored before. Throws DependencyDown if the broker
// does not say so (it may be stored: try again), OutcomeConflict if it keeps another one instead.
export async function publish(broker: NatsConnection, posting: Posting): Promise<void> {
  const guard = posting.rivals.map((rival): [string, string][] => [
    ["Nats-Expected-Last-Subject-Sequence", "0"],
    ["Nats-Expected-Last-Subject-Sequence-Subject", rival],
  ]);
  const headers = { ...posting.headers, ...Object.fromEntries(guard.flat()) };
  const { error } = (await stored(broker, posting, headers)).json<Receipt>();
  if (!error) return;
  const isStored =
    error.err_code === WRONG_LAST_SEQUENCE ||
    (error.err_code === ALREADY_STORED && error.description.includes("per subject"));
  if (!isStored) throw new DependencyDown(`not stored: ${error.err_code} ${error.description}`);
  const there = await readBack(broker, posting);
  if (there !== posting.headers["ce-id"]) throw new OutcomeConflict(posting.subject);
}

interface Receipt {
  readonly error?: { readonly err_code: number; readonly description: string };
}

async function stored(broker: NatsConnection, { subject, bytes }: Posting, headers: Headers) {
  try {
    return await broker.request(subject, bytes, {
      headers: wired(headers),
      timeout: ANSWERED_WITHIN,
    });
  } catch {
    throw new DependencyDown(`no receipt for ${subject}`);
  }
}

// Another message is stored in the place of ours.
export class OutcomeConflict extends Error {}

export function plain(wire: MsgHdrs | undefined): Headers {
  const names = wire?.keys() ?? [];
  return Object.fromEntries(names.map((name) => [name, wire?.get(name) ?? ""]));
}

// "Already stored" is an answer only when it is seen.
async function readBack(broker: NatsConnection, posting: Posting): Promise<string | undefined> {
  for (const delay of READ_BACK_AFTER) {
    await pause(delay);
    for (const subject of [posting.subject, ...posting.rivals]) {
      const stored = await broker.request(`$JS.API.DIRECT.GET.${posting.stream}.${subject}`);
      if (!stored.headers?.has("Status")) return stored.headers?.get("ce-id");
    }
  }
  throw new DependencyDown(`${posting.subject} is stored, but no replica shows it yet`);
}

function wired(headers: Headers): MsgHdrs {
  const wire = newHeaders();
  for (const [name, value] of Object.entries(headers)) wire.set(name, value);
  return wire;
}
