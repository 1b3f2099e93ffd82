"""Many workers, few addresses: one winner each, nobody waits for ever, no answer is lost."""

import asyncio
import random
from contextlib import suppress
from contextvars import copy_context
from itertools import cycle

import pytest
from seaway.consumer import Consumer
from seaway.database import Database, SqlInbox
from seaway.envelope import Envelope
from seaway.errors import DependencyDown, Raced
from seaway.inbox import Handled
from seaway.testing import MemoryBroker
from seaway.topology import apply, declared
from sqlalchemy import func, select
from user_creation.service import user_creation
from user_creation.users import MIGRATIONS, SqlUsers, users

BATCHES = 100
CONTESTED = ["ada@münchen.de", "bob@example.org", "eve@example.org", "zoë@example.org"]


async def count(database):
    async with database.reading() as connection:
        return await connection.scalar(select(func.count()).select_from(users))


async def decided(database, requests):
    """Handle a batch as a consumer does; return who was created."""
    async with SqlInbox(database).transaction("durable") as transaction:
        assert await transaction.find([r.request_id for r in requests]) == {}
        created = await SqlUsers(database).add(requests)
        await transaction.record([Handled(r.request_id, 1, bytes(32)) for r in requests])
    return created


async def decided_in_the_end(database, requests):
    """The same; who waits for a lock for too long lets go, and is given the batch once more."""
    while True:
        with suppress(DependencyDown):
            return await decided(database, requests)


async def test_of_a_hundred_batches_at_once_one_wins_each_address(database, another, requested):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    batches = []
    for number in range(BATCHES):
        contested = [chance.choice([e, e.upper()]) for e in CONTESTED]
        batch = [requested(e) for e in (*contested, f"{number}@example.org")]
        chance.shuffle(batch)
        batches.append(batch)
    replicas = cycle([database, another])
    outcomes = await asyncio.gather(*(decided_in_the_end(next(replicas), b) for b in batches))
    winners = {i for created in outcomes for i in created}
    emails = sorted(r.email.casefold() for b in batches for r in b if r.request_id in winners)
    own = [f"{number}@example.org" for number in range(BATCHES)]
    assert emails == sorted([*CONTESTED, *own]), f"seed {seed}"
    assert await count(database) == len(emails)


async def test_workers_who_want_the_same_addresses_wait_but_not_in_a_circle(
    postgresql, all_waiting, requested
):
    """Unsorted, each would hold an address that the other waits for."""
    async with Database(postgresql.new_database(), "user_creation", MIGRATIONS) as database:
        await database.migrate()
        outside = copy_context()
        async with database.transaction():
            await SqlUsers(database).add([requested("m@m.org")])
            batches = [[requested(f"{c}@{c}.org") for c in order] for order in ("zma", "amz")]
            workers = [
                asyncio.create_task(decided(database, batch), context=outside.copy())
                for batch in batches
            ]
            await all_waiting(2)
        created = [len(await worker) for worker in workers]
    assert sorted(created) == [0, 2]


async def test_the_address_of_a_worker_that_gives_up_goes_to_the_one_who_waits(
    database, another, requested
):
    added = asyncio.Event()
    give_up = asyncio.Event()

    async def lose():
        async with database.transaction():
            await SqlUsers(database).add([requested("ada@example.org")])
            added.set()
            await give_up.wait()
            raise ZeroDivisionError

    losing = asyncio.create_task(lose())
    await added.wait()
    ada = requested("ADA@example.org")
    waiting = asyncio.create_task(decided(another, [ada]))
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    give_up.set()
    assert (await waiting).keys() == {ada.request_id}
    with pytest.raises(ZeroDivisionError):
        await losing


async def test_one_message_in_two_workers_has_one_answer(database, another, requested):
    broker = MemoryBroker()
    services = [user_creation(SqlUsers(d), SqlInbox(d)) for d in (database, another)]
    (subscription,) = services[0].subscriptions
    await apply(broker, declared([subscription.stream], [subscription]))
    await broker.publish([Envelope.opening(requested("ada@example.org"), "test").posting()])
    workers = [Consumer(s.subscriptions[0], broker, s.inbox) for s in services]
    async with broker.pull("USERS", subscription.durable) as pull:
        deliveries = await pull.fetch(1, 0)
    for _ in range(10):
        answers = await asyncio.gather(
            *(worker.answered(deliveries) for worker in workers), return_exceptions=True
        )
        assert {type(a) for a in answers} <= {list, Raced}
    (one,), (other,) = answers
    assert one == other
    assert len(one) == 1
    assert await count(database) == 1
