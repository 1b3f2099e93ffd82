// Everybody who has signed up, in memory. What is not in the stream any more is forgotten.

import { createHash } from "node:crypto";
import { create, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { timestampDate, timestampNow } from "@bufbuild/protobuf/wkt";
import { jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  addressOf,
  decode,
  type Envelope,
  plain,
  type Posting,
  type Question,
  replyTo,
  SEAWAY,
  uuid5,
} from "seaway-in-typescript";
import {
  CreateUserConfirmedSchema,
  CreateUserRejected_Reason,
  CreateUserRejectedSchema,
  CreateUserRequestedSchema,
} from "seaway-in-typescript/users";
import { normalised } from "./address.ts";

type Request = Envelope<typeof CreateUserRequestedSchema>;
type Confirmed = MessageShape<typeof CreateUserConfirmedSchema>;

interface Decided {
  readonly request: Request;
  readonly outcome: Posting;
}

const AT_ONCE = 1000;
const NOTHING_LEFT = 404;

export class Users {
  readonly #decided = new Map<string, Decided>(); // by the request's id
  readonly #owners = new Map<string, string>(); // of addresses: request ids
  readonly #rows = new Map<string, Confirmed>(); // by request id

  // Decides once. Asked again, it says the same again, byte for byte.
  decide(request: Request, durable: string): Posting {
    const known = this.#decided.get(request.id);
    if (known) return known.outcome;
    const { requestId, email, displayName, locale } = request.body;
    const owner = this.#owners.get(normalised(email)) ?? requestId;
    const confirmed = create(CreateUserConfirmedSchema, {
      requestId,
      userId: uuid5(SEAWAY, `user/${requestId}`),
      email,
      displayName,
      locale,
      createdAt: timestampNow(),
    });
    const rejected = create(CreateUserRejectedSchema, {
      requestId,
      reason: CreateUserRejected_Reason.EMAIL_TAKEN,
      email,
      locale,
    });
    const outcome =
      owner === requestId
        ? replyTo(request, durable, CreateUserConfirmedSchema, confirmed)
        : replyTo(request, durable, CreateUserRejectedSchema, rejected);
    if (owner === requestId) this.#add(confirmed);
    this.#decided.set(request.id, { request, outcome });
    return outcome;
  }

  // Reads from the stream what was decided, by whomever: the stream is the only memory that stays.
  async remember(broker: NatsConnection): Promise<void> {
    const stream = addressOf(CreateUserRequestedSchema).stream;
    const requests = new Map<string, Request>();
    for await (const stored of everything(broker, stream)) {
      const headers = plain(stored.header);
      const place = { sequence: stored.seq, storedAt: stored.time };
      const cause = requests.get(headers["ce-causationid"] ?? "");
      if (headers["ce-type"] === CreateUserRequestedSchema.typeName) {
        const read = () => decode(CreateUserRequestedSchema, stored.data, headers, place);
        const request = readable(read);
        if (request) requests.set(request.id, request);
        continue;
      }
      if (headers["ce-type"] === CreateUserConfirmedSchema.typeName) {
        this.#add(decode(CreateUserConfirmedSchema, stored.data, headers, place).body);
      } else if (headers["ce-type"] !== CreateUserRejectedSchema.typeName) continue;
      if (cause) {
        const { subject, data: bytes } = stored;
        const outcome = { stream, subject, bytes, headers, rivals: [] };
        this.#decided.set(cause.id, { request: cause, outcome });
      }
    }
  }

  // What `seaway audit` wants to know: what was handled, and which rows there are.
  *tell(service: string, durable: string, question: Question): Iterable<object> {
    const { stream } = addressOf(CreateUserRequestedSchema);
    const event = CreateUserConfirmedSchema.typeName;
    yield { service };
    if (question.stream !== stream) return;
    yield { durable, start: "beginning", kept: true };
    for (const { request } of this.#decided.values()) {
      if (request.sequence < question.first || request.sequence > question.last) continue;
      yield {
        durable,
        sequence: request.sequence,
        message_id: request.id,
        outcome: "ack",
        sha256: sha256(request.bytes),
      };
    }
    yield { projection: event };
    for (const [key, row] of this.#rows) {
      const at = timestampDate(row.createdAt ?? timestampNow());
      if (at < question.since) continue;
      const bytes = toBinary(CreateUserConfirmedSchema, row, { writeUnknownFields: false });
      yield { row: event, key, at: at.toISOString(), outcome: "kept", sha256: sha256(bytes) };
    }
  }

  #add(user: Confirmed): void {
    this.#owners.set(normalised(user.email), user.requestId);
    this.#rows.set(user.requestId, user);
  }
}

async function* everything(broker: NatsConnection, stream: string): AsyncIterable<StoredMsg> {
  const { direct } = await jetstreamManager(broker, { checkAPI: false });
  let seq = 1;
  try {
    while (true) {
      for await (const stored of await direct.getBatch(stream, { seq, batch: AT_ONCE })) {
        seq = stored.seq + 1;
        yield stored;
      }
    }
  } catch (error) {
    if ((error as { code?: unknown }).code !== NOTHING_LEFT) throw error;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined; // it will be delivered, and set aside
  }
}
