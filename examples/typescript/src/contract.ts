// Where a message lives, read from the options in its .proto. No subject is typed by hand.

import { type DescMessage, getOption, hasOption, type Message } from "@bufbuild/protobuf";
import { command, event, stream } from "./gen/seaway/messaging/v1/options_pb.ts";

export interface Address {
  readonly message: string; // the full name of the type
  readonly stream: string;
  readonly subject: string; // without the key
  readonly oncePerKey: boolean;
  readonly keyOf: (body: Message) => string;
  readonly rivals: readonly string[]; // the subjects of the other outcomes of the same command
  readonly staleAfter: number | undefined; // milliseconds
}

export function addressOf(type: DescMessage): Address {
  const options = optionsOf(type);
  const home = getOption(type.file, stream);
  const key = type.fields.find((field) => field.name === options.key);
  if (!key) throw new Error(`${type.typeName} has no field ${options.key}`);
  const rivals = type.file.messages
    .filter((other) => other !== type && hasOption(other, event))
    .map((other) => getOption(other, event))
    .filter((other) => options.outcomeOf !== "" && other.outcomeOf === options.outcomeOf)
    .map((other) => other.subject);
  return {
    message: type.typeName,
    stream: home.name,
    subject: options.subject,
    oncePerKey: home.oncePerKey,
    keyOf: (body) => (body as unknown as Record<string, string>)[key.localName] ?? "",
    rivals,
    staleAfter: options.staleAfter && Number(options.staleAfter.seconds) * 1000,
  };
}

// `user-creation` and CreateUserRequested: `user-creation-create-user-requested`.
export function durableOf(service: string, type: DescMessage): string {
  return `${service}-${type.name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "-").toLowerCase()}`;
}

function optionsOf(type: DescMessage) {
  if (hasOption(type, command)) return getOption(type, command);
  if (hasOption(type, event)) return getOption(type, event);
  throw new Error(`${type.typeName} is neither a command nor an event`);
}
