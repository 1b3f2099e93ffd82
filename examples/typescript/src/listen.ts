// The life of a delivery: fetched, handled, answered, settled. Read `process` first.

import type { DescMessage } from "@bufbuild/protobuf";
import { type Consumer, type ConsumerInfo, jetstream, type JsMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { setTimeout as pause } from "node:timers/promises";
import { OutcomeConflict, plain, publish } from "./broker.ts";
import { addressOf, durableOf } from "./contract.ts";
import { decode, DependencyDown, type Envelope, type Posting, Unprocessable } from "./envelope.ts";

const AT_ONCE = 16;
const FETCH_WAIT = 2000; // milliseconds: a stop waits for its end, so that nothing is lost on the way
const IN_PROGRESS_EVERY = 5000 / 3; // a third of the ack wait
const RETRY_AFTER = [1, 5, 30, 120, 600]; // seconds; the last one repeats
const MOST_FAILURES = 10;

export interface Listener<T extends DescMessage> {
  readonly service: string;
  readonly type: T;
  // Does the work and returns what it causes. Doing it again must return the same.
  readonly handle: (message: Envelope<T>, durable: string) => Promise<readonly Posting[]>;
}

// Fetches and handles until `stopping`; then finishes what is in hand, and returns.
export async function listen<T extends DescMessage>(
  broker: NatsConnection,
  listener: Listener<T>,
  stopping: AbortSignal,
): Promise<void> {
  const durable = durableOf(listener.service, listener.type);
  const inHand = new Set<Promise<void>>();
  const consumer = bound(broker, addressOf(listener.type).stream, durable);
  let away = false; // a dependency: then one message now and then, to see
  while (!stopping.aborted) {
    try {
      if (inHand.size >= (away ? 1 : AT_ONCE)) await Promise.race(inHand);
      const room = away ? 1 : AT_ONCE - inHand.size;
      const fetching = { max_messages: room, expires: FETCH_WAIT, bind: true };
      for await (const delivery of await consumer.fetch(fetching)) {
        if (stopping.aborted) {
          delivery.nak(); // it came too late to be begun: another process may have it at once
          continue;
        }
        const task = process(broker, listener, durable, delivery).then((isAway) => {
          away = isAway;
          inHand.delete(task);
        });
        inHand.add(task);
      }
    } catch (error) {
      console.error(`cannot fetch: ${error}`);
      await pause(1000);
    }
  }
  await Promise.all(inHand);
  await broker.flush();
}

// Topology has made the durable: here it is neither made nor asked about, only fetched from, which is
// all that a service is permitted.
function bound(broker: NatsConnection, stream: string, durable: string): Consumer {
  const info = { stream_name: stream, name: durable, config: {} } as ConsumerInfo;
  return jetstream(broker).consumers.getConsumerFromInfo(info);
}

// Returns whether a dependency was away.
async function process<T extends DescMessage>(
  broker: NatsConnection,
  listener: Listener<T>,
  durable: string,
  delivery: JsMsg,
): Promise<boolean> {
  const keepAlive = setInterval(() => delivery.working(), IN_PROGRESS_EVERY);
  try {
    const place = { sequence: delivery.seq, storedAt: new Date(delivery.info.timestampNanos / 1e6) };
    const message = decode(listener.type, delivery.data, plain(delivery.headers), place);
    const replies = await listener.handle(message, durable);
    for (const reply of replies) await publish(broker, reply);
    delivery.ack(); // only now: what is acked never comes again
    return false;
  } catch (error) {
    return await failed(broker, durable, delivery, error);
  } finally {
    clearInterval(keepAlive);
  }
}

// A text of an error is never logged: it may hold personal data.
async function failed(
  broker: NatsConnection,
  durable: string,
  delivery: JsMsg,
  error: unknown,
): Promise<boolean> {
  const attempt = delivery.info.deliveryCount;
  const isAway = error instanceof DependencyDown;
  const reason =
    error instanceof Unprocessable
      ? error.reason
      : error instanceof OutcomeConflict
        ? "OUTCOME_CONFLICT"
        : !isAway && attempt >= MOST_FAILURES
          ? "FAILED_TOO_OFTEN"
          : "";
  console.error(`not handled: ${(error as Error).name} ${reason}, #${delivery.seq}`);
  const after = RETRY_AFTER[isAway ? 0 : Math.min(attempt, RETRY_AFTER.length) - 1] ?? 1;
  try {
    if (reason) {
      await setAside(broker, durable, delivery, reason);
      delivery.term(reason);
    } else {
      delivery.nak(after * 1000); // without a delay it would come again at once
    }
  } catch {
    console.error(`not settled, will come again: #${delivery.seq}`);
  }
  return isAway;
}

// A dead letter is stored before the broker lets go of the message: byte for byte, and who gave up.
async function setAside(
  broker: NatsConnection,
  durable: string,
  delivery: JsMsg,
  reason: string,
): Promise<void> {
  const theirs = Object.entries(plain(delivery.headers)).filter(
    ([name]) => !/^(Nats-|seaway-)/.test(name),
  );
  const id = /^[A-Za-z0-9-]{1,64}$/.exec(delivery.headers?.get("ce-id") ?? "")?.[0];
  const letter: Posting = {
    stream: "DEAD",
    subject: `dead.${durable}.${id ?? `sequence-${delivery.seq}`}`,
    bytes: delivery.data,
    headers: {
      ...Object.fromEntries(theirs),
      "seaway-durable": durable,
      "seaway-reason": reason,
      "seaway-attempts": String(delivery.info.deliveryCount),
      "seaway-first-at": new Date(delivery.info.timestampNanos / 1e6).toISOString(),
      "seaway-last-at": new Date().toISOString(),
      "seaway-version": "0",
      "seaway-original-subject": delivery.subject,
    },
    rivals: [],
  };
  await publish(broker, letter);
}
