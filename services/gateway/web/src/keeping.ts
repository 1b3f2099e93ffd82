// What this tab keeps of a sign-up, so that it goes on after a reload. It ends with the tab.

import { State } from "./gen/acme/gateway/v1/sign_up_pb";

export interface Asked {
  readonly email: string;
  readonly displayName: string;
  readonly locale: string;
}

export interface Conversation {
  /** Ours, and secret: whoever knows it can ask what became of the request. */
  readonly requestId: string;
  /** Of the last update that was seen; empty before the first. */
  readonly resumeToken: string;
  readonly reached: State;
  /** Where the e-mail goes, to be shown. */
  readonly email: string;
  /** What to ask for again. Forgotten once it is accepted. */
  readonly asked?: Asked;
}

const KEY = "sign-up";

export function begun(asked: Asked): Conversation {
  const nothing = { resumeToken: "", reached: State.PENDING };
  return { requestId: randomUuid(), ...nothing, email: asked.email, asked };
}

export function keep(conversation: Conversation): void {
  withStorage((storage) => storage.setItem(KEY, JSON.stringify(conversation)));
}

export function kept(): Conversation | undefined {
  const text = withStorage((storage) => storage.getItem(KEY));
  try {
    const found: unknown = JSON.parse(text ?? "null");
    return isConversation(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

export function forget(): void {
  withStorage((storage) => storage.removeItem(KEY));
}

function isConversation(found: unknown): found is Conversation {
  return (
    typeof found === "object" &&
    found !== null &&
    "requestId" in found &&
    "resumeToken" in found &&
    "reached" in found &&
    "email" in found
  );
}

/** Where a browser allows no storage, a reload forgets; nothing else is lost. */
function withStorage<T>(use: (storage: Storage) => T): T | undefined {
  try {
    return use(window.sessionStorage);
  } catch {
    return undefined;
  }
}

function randomUuid(): string {
  // crypto.randomUUID is only there over https and on this machine; the numbers are everywhere.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
