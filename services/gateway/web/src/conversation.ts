// One sign-up as a gateway tells it, however often it has to be asked. As `seaway sign-up` does it.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

import { SignUpService, State, type SignUpUpdate } from "./gen/acme/gateway/v1/sign_up_pb";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb";
import type { Conversation } from "./keeping";

/** A quiet stream says something every 15 s. After this many milliseconds it is dead. */
const SILENCE = 40_000;
/** What we wait if nobody says how long: a little, then longer, in milliseconds. */
const FIRST_PAUSE = 300;
const LONGEST_PAUSE = 5_000;

const client = createClient(
  SignUpService,
  createConnectTransport({ baseUrl: window.location.origin }),
);

/** The gateway says no, and will say so again. */
export class Refused extends Error {
  constructor(
    message: string,
    /** What is wrong with each field, by its name in the .proto. */
    readonly fields: ReadonlyMap<string, string>,
  ) {
    super(message);
  }
}

/** Nobody answers, or somebody asks us to wait. It passes: we ask again by ourselves. */
export type Trouble = "away" | "busy" | undefined;

/**
 * Yields each update once, up to the e-mail. Throws Refused, and whatever `signal` is aborted with.
 *
 * `trouble` is told when something is in the way, and `undefined` when it no longer is.
 */
export async function* updates(
  kept: Conversation,
  signal: AbortSignal,
  trouble: (trouble: Trouble) => void,
): AsyncGenerator<SignUpUpdate> {
  let seen = kept.resumeToken;
  let failures = 0;
  for (;;) {
    try {
      for await (const update of heard({ ...kept, resumeToken: seen }, signal)) {
        failures = 0;
        trouble(undefined);
        if (BigInt(update.resumeToken || "0") > BigInt(seen || "0")) {
          seen = update.resumeToken;
          yield update;
        }
      }
      return;
    } catch (error) {
      signal.throwIfAborted();
      const pause = pauseAfter(ConnectError.from(error), failures++, trouble);
      await sleep(pause, signal);
    }
  }
}

/** Asks once. An aborted call is noticed, and so is one from which nothing is heard. */
async function* heard(kept: Conversation, signal: AbortSignal): AsyncGenerator<SignUpUpdate> {
  const call = new AbortController();
  const hangUp = () => call.abort();
  signal.addEventListener("abort", hangUp);
  let silence = window.setTimeout(hangUp, SILENCE);
  try {
    for await (const update of ask(kept, call.signal)) {
      window.clearTimeout(silence);
      silence = window.setTimeout(hangUp, SILENCE);
      yield update;
    }
  } finally {
    window.clearTimeout(silence);
    signal.removeEventListener("abort", hangUp);
    call.abort();
  }
}

function ask(kept: Conversation, signal: AbortSignal): AsyncIterable<SignUpUpdate> {
  const { requestId, resumeToken, asked } = kept;
  const until = State.EMAILED;
  if (asked === undefined) {
    return client.watchSignUp({ requestId, resumeToken, until }, { signal });
  }
  // Not accepted as far as we know. Asking again is the same request.
  return client.signUp({ requestId, until, ...asked }, { signal });
}

/** Says how many milliseconds to wait before asking again. Throws Refused if there is no point. */
function pauseAfter(
  error: ConnectError,
  failures: number,
  trouble: (trouble: Trouble) => void,
): number {
  const [why] = error.findDetails(ErrorInfoSchema);
  if (why?.reason === "RESUME") {
    return 0; // its time was over; that is no trouble
  }
  if (why !== undefined && error.code !== Code.Unavailable && error.code !== Code.ResourceExhausted) {
    throw new Refused(error.rawMessage, violations(error));
  }
  // Without details it does not come from a gateway: the connection broke, or there was none.
  trouble(error.code === Code.ResourceExhausted ? "busy" : "away");
  const [retry] = error.findDetails(RetryInfoSchema);
  const delay = retry?.retryDelay;
  const least = delay === undefined ? 0 : Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  return Math.max(least, Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE));
}

function violations(error: ConnectError): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { fieldViolations } of error.findDetails(BadRequestSchema)) {
    for (const { field, description } of fieldViolations) {
      found.set(field, found.has(field) ? `${found.get(field)}; ${description}` : description);
    }
  }
  return found;
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      window.clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = window.setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
