// A message and what is known about it. The body is plain Protobuf, the rest are headers, named as
// in the binary mode of CloudEvents.

import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { addressOf } from "./contract.ts";
import { SEAWAY, uuid5 } from "./ids.ts";

export type Headers = Readonly<Record<string, string>>;

export interface Envelope<T extends DescMessage = DescMessage> {
  readonly body: MessageShape<T>;
  readonly id: string;
  readonly correlationId: string; // the conversation
  readonly traceparent: string;
  readonly sequence: number; // its place in the stream
  readonly storedAt: Date; // by the broker's clock
  readonly bytes: Uint8Array; // the body as it came
}

export interface Posting {
  readonly stream: string;
  readonly subject: string;
  readonly bytes: Uint8Array;
  readonly headers: Headers;
  readonly rivals: readonly string[]; // subjects on which nothing may be stored, or this is refused
}

// What was thrown for a message that nobody will ever be able to handle. `reason` is a fixed code,
// and holds no personal data.
export class Unprocessable extends Error {
  constructor(readonly reason: string) {
    super(reason);
  }
}

// What was thrown because something that is needed is away: the message is not to blame.
export class DependencyDown extends Error {}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function decode<T extends DescMessage>(
  type: T,
  bytes: Uint8Array,
  headers: Headers,
  place: { sequence: number; storedAt: Date },
): Envelope<T> {
  if (headers["ce-type"] !== type.typeName) throw new Unprocessable("UNKNOWN_TYPE");
  const id = headers["ce-id"] ?? "";
  if (!UUID.test(id)) throw new Unprocessable("BAD_HEADERS");
  return {
    body: read(type, bytes),
    id: id.toLowerCase(),
    correlationId: headers["ce-correlationid"] ?? id,
    traceparent: headers.traceparent ?? "",
    ...place,
    bytes,
  };
}

// What handling `cause` through `durable` causes: the same id whenever, and by whomever, it is done.
export function replyTo<T extends DescMessage>(
  cause: Envelope,
  durable: string,
  type: T,
  body: MessageShape<T>,
): Posting {
  const address = addressOf(type);
  const key = address.keyOf(body);
  return {
    stream: address.stream,
    subject: `${address.subject}.${key}`,
    bytes: toBinary(type, body),
    headers: {
      "ce-specversion": "1.0",
      "ce-id": uuid5(SEAWAY, `${cause.id}/${durable}/${address.message}/${key}`),
      "ce-type": address.message,
      "ce-source": durable,
      "ce-time": new Date().toISOString(),
      "ce-correlationid": cause.correlationId,
      "ce-causationid": cause.id,
      "content-type": "application/protobuf",
      ...(cause.traceparent && { traceparent: cause.traceparent }),
    },
    rivals: address.rivals.map((rival) => `${rival}.${key}`),
  };
}

function read<T extends DescMessage>(type: T, bytes: Uint8Array): MessageShape<T> {
  try {
    return fromBinary(type, bytes); // fields that we do not know yet are kept
  } catch {
    throw new Unprocessable("UNDECODABLE");
  }
}
