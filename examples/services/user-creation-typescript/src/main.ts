// Decides who becomes a user, in the place of ours: it fetches from the same durable.
//
// Settings: those of every service (SEAWAY_NATS_URL, SEAWAY_METRICS_PORT …).

import { durableOf, serve } from "seaway-in-typescript";
import { CreateUserRequestedSchema } from "seaway-in-typescript/users";
import { Users } from "./users.ts";

const SERVICE = "user-creation";
const users = new Users();

void serve({
  prepare: (broker) => users.remember(broker),
  listener: {
    service: SERVICE,
    type: CreateUserRequestedSchema,
    handle: async (request, durable) => [users.decide(request, durable)],
  },
  tell: (question) =>
    users.tell(SERVICE, durableOf(SERVICE, CreateUserRequestedSchema), question),
});
