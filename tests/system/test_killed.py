"""Real processes, killed in the middle: nothing accepted is lost, nothing happens twice."""

import asyncio
from collections import Counter

import pytest
from processes import Processes
from seaway.jetstream import JetStream
from sign_ups import SignUp, a_request, clients, sign_up
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SIGN_UPS = 500
AT_ONCE = 50
OUTCOMES = ("users.v1.create-confirmed", "users.v1.create-rejected")


async def rows(database_url):
    """Each user's request id, as often as there is a row of it."""
    sqlite = database_url.startswith("sqlite")
    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            table = "users" if sqlite else "user_creation.users"
            found = await connection.execute(text(f"SELECT request_id FROM {table}"))  # noqa: S608
            return Counter(found.scalars())
    finally:
        await engine.dispose()


async def stored(url):
    """Request ids by subject, as the stream keeps them."""
    async with JetStream(url, "test") as broker:
        await broker.connected()
        found = {}
        async for message in broker.scan("USERS", "users.v1.>"):
            subject, _, key = message.subject.rpartition(".")
            found.setdefault(subject, []).append(key)
        return found


async def kill_in_the_middle(system, sign_ups):
    """Kill each service three times, each time while somebody is waiting for it."""
    hits = Counter()
    for threshold in (100, 200, 300):
        await until(lambda: sum(s.ended for s in sign_ups) >= threshold, within=60)  # noqa: B023
        for program in (system.workers[0], system.gateways[0]):
            hits[program.module] += any(s.accepted and not s.ended for s in sign_ups)
            await program.kill()
            await program.start()
            await program.ready()
    return hits


async def test_kills_lose_nothing_and_repeat_nothing(tmp_path, database_url, capsys):
    sign_ups = [SignUp(a_request()) for _ in range(SIGN_UPS)]
    room = asyncio.Semaphore(AT_ONCE)

    async with (
        Processes(tmp_path, database_url) as system,
        clients(system.grpc_ports, 4) as stubs,
        asyncio.TaskGroup() as tasks,
    ):

        async def one(number):
            async with room:
                # From one stub to the next, each beginning with another.
                await sign_up(stubs[number % 4 :] + stubs, sign_ups[number])

        killing = tasks.create_task(kill_in_the_middle(system, sign_ups))
        waiting = [tasks.create_task(one(number)) for number in range(SIGN_UPS)]
        await asyncio.gather(*waiting)
        hits = await killing
        outcomes = await stored(system.server.url)
        users = await rows(database_url)

    accepted = {s.request_id for s in sign_ups if s.accepted}
    confirmed, rejected = (outcomes.get(subject, []) for subject in OUTCOMES)
    with capsys.disabled():
        kills = {p.module: p.kills for p in (*system.workers, *system.gateways)}
        errors = Counter(str(error) for s in sign_ups for error in s.errors)
        print(f"\n  killed {kills}, in hand at the kill {dict(hits)}, errors {dict(errors)}")
    assert hits["user_creation"] >= 1
    assert hits["gateway"] >= 1
    assert len(accepted) == SIGN_UPS
    assert Counter(confirmed + rejected) == Counter(accepted)
    assert users == Counter(confirmed)
    assert all(len(s.outcomes) == 1 for s in sign_ups)
