"""User creation as it should not be: some names are its death, or keep it busy for ever.

Everything else is the real service's. Its delays are short, so that a test can see their end.
PERILOUS_FORM=each has it handle each message for itself, up to sixteen at once.
"""

import asyncio
import os
from dataclasses import replace

from acme.users.v1 import CreateUserRequested
from seaway import Service
from seaway.database import Database, SqlInbox
from seaway.outcome import RetryPolicy
from seaway.process import serve
from user_creation.service import answer
from user_creation.settings import UserCreationSettings
from user_creation.users import MIGRATIONS, SqlUsers

ACK_WAIT = float(os.environ.get("PERILOUS_ACK_WAIT", "5"))
FORM = os.environ.get("PERILOUS_FORM", "batch")
SLOW = 0.2
"""Seconds that a slow one takes."""


async def waits_for_ever():
    await asyncio.Event().wait()


async def computes_for_ever():
    while True:
        pass


async def aborts():
    os.abort()


async def is_slow():
    await asyncio.sleep(SLOW)


PERILS = {
    "wait": waits_for_ever,
    "compute": computes_for_ever,
    "abort": aborts,
    "slow": is_slow,
}


def build(process):
    settings = process.settings(UserCreationSettings)
    database = process.during(Database(settings.database_url, "user_creation", MIGRATIONS))
    process.before(database.migrate)
    users = SqlUsers(database)
    service = Service("user-creation", SqlInbox(database))

    async def create_users(messages):
        for message in messages:
            if message.body.display_name in PERILS:
                await PERILS[message.body.display_name]()
        created = await users.add([message.body for message in messages])
        return [answer(message.body, created) for message in messages]

    async def create_user(message):
        [outcome] = await create_users([message])
        return outcome

    if FORM == "each":
        service.on(CreateUserRequested)(create_user)
    else:
        service.on_batch(CreateUserRequested, up_to=256)(create_users)
    [subscription] = service.subscriptions
    policy = RetryPolicy(delays=(0.2,))
    service.subscriptions = [replace(subscription, policy=policy, ack_wait=ACK_WAIT)]
    return service


if __name__ == "__main__":
    serve("user-creation", build)
