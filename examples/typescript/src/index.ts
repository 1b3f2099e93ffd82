export { plain } from "./broker.ts";
export { type Address, addressOf, durableOf } from "./contract.ts";
export { decode, DependencyDown, type Envelope, type Headers, type Posting, replyTo, Unprocessable } from "./envelope.ts";
export { SEAWAY, uuid5 } from "./ids.ts";
export type { Listener } from "./listen.ts";
export { type Question, serve, type Service } from "./serve.ts";
