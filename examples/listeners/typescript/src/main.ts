// Tells a webhook of every new user.
//
// Settings: those of every service (SEAWAY_NATS_URL, SEAWAY_METRICS_PORT …), SEAWAY_WEBHOOK_URL,
// and SEAWAY_HANDLED_FILE, where it keeps what it has handled.

import {
  addressOf,
  DependencyDown,
  durableOf,
  type Envelope,
  serve,
  Unprocessable,
} from "seaway-in-typescript";
import { CreateUserConfirmedSchema } from "seaway-in-typescript/users";
import { Handled } from "./handled.ts";

const { SEAWAY_WEBHOOK_URL: url, SEAWAY_HANDLED_FILE: file = ".seaway/new-user-webhook.handled" } =
  process.env;
const SERVICE = "new-user-webhook";
const CONFIGURATION = 78;
const ANSWERED_WITHIN = 10_000; // milliseconds
const PASSING = new Set([408, 425, 429]);
const { staleAfter, stream: home } = addressOf(CreateUserConfirmedSchema);

if (!url) {
  console.error("SEAWAY_WEBHOOK_URL: whom to tell of every new user");
  process.exit(CONFIGURATION);
}

async function tell(url: string, user: Envelope<typeof CreateUserConfirmedSchema>): Promise<void> {
  const { userId, displayName } = user.body;
  let status: number;
  try {
    const answer = await fetch(url, {
      method: "POST",
      // If we die before it is written down, the webhook is told again, with the same key.
      headers: { "content-type": "application/json", "idempotency-key": user.id },
      body: JSON.stringify({ userId, displayName }),
      signal: AbortSignal.timeout(ANSWERED_WITHIN),
    });
    await answer.arrayBuffer();
    status = answer.status;
  } catch {
    throw new DependencyDown("the webhook does not answer");
  }
  if (status >= 500 || PASSING.has(status)) throw new DependencyDown(`the webhook says ${status}`);
  if (status >= 400) throw new Unprocessable(`WEBHOOK_SAYS_${status}`);
}

async function main(url: string): Promise<void> {
  const handled = new Handled(file);
  const durable = durableOf(SERVICE, CreateUserConfirmedSchema);
  await serve({
    listener: {
      service: SERVICE,
      type: CreateUserConfirmedSchema,
      async handle(user) {
        if (handled.has(user)) return [];
        const isStale = staleAfter !== undefined && Date.now() - +user.storedAt > staleAfter;
        if (isStale) console.log(`too old to tell: #${user.sequence}`);
        else await tell(url, user);
        handled.add(user);
        return [];
      },
    },
    // What `seaway audit` wants to know.
    *tell({ stream, first, last }) {
      yield { service: SERVICE };
      if (stream !== home) return;
      yield { durable, start: "now", kept: true };
      for (const { id, sequence, sha256 } of handled.between(first, last)) {
        yield { durable, sequence, message_id: id, outcome: "ack", sha256 };
      }
    },
  });
}

void main(url);
