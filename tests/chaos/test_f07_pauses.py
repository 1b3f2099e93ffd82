"""F7: the broker, or a service, is stopped where it is, and goes on later as if nothing was."""

import asyncio
from contextlib import asynccontextmanager

from runner import Run
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from waiting import until

PAST_THE_ACK_WAIT = 6.5


def figure(program, name):
    """One of a program's metrics, of which the name begins so; 0 if there is none."""
    lines = program.asked("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def second_deliveries(programs):
    """How many messages were handled by one while, or after, another one had them in hand."""
    name = "seaway_delivery_attempts"
    settled = sum(figure(program, f"{name}_count{{") for program in programs)
    return int(settled - sum(_at_once(program, name) for program in programs))


def _at_once(program, name):
    lines = program.asked("/metrics")[1].splitlines()
    first = [line for line in lines if line.startswith(f"{name}_bucket") and 'le="1.0"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in first)


async def test_a_paused_broker_loses_nothing(tmp_path, store, goal, size, dice, capsys):
    gaps, pauses = [], size(smoke=3, full=25)
    longest = size(smoke=3.0, full=6.0, long=60.0)
    async with Run(tmp_path, store) as run:
        async with run.load(per_second=size(smoke=15, full=20)) as load:
            for _ in range(pauses):
                run.hits += bool(await load.caught())
                run.fault("broker paused")
                run.system.server.pause()
                await asyncio.sleep(dice.uniform(1.0, longest))
                run.system.server.resume()
                gaps.append(await load.gap(run.fault("broker goes on")))
        accepted = await run.check()
    with capsys.disabled():
        print(f"\n  {run.summary()}")
    assert accepted == len(run.history)
    met = max(gaps) < 5
    goal("F7 gap after a paused broker", max(gaps), "< 5 s", hits=run.hits, least=pauses, met=met)


@asynccontextmanager
async def nobody_can_write(store):
    """Hold the table of users, so that what a worker has begun it cannot end meanwhile."""
    engine = create_async_engine(store)
    sqlite = store.startswith("sqlite")
    lock = "BEGIN IMMEDIATE" if sqlite else "LOCK TABLE user_creation.users IN EXCLUSIVE MODE"
    try:
        async with engine.connect() as connection:
            await connection.execute(text(lock))
            yield
            await connection.rollback()
    finally:
        await engine.dispose()


async def pause_with_something_in_hand(worker, store):
    """Pause a worker in the middle of a transaction."""

    in_hand = "seaway_messages_in_progress{"
    async with nobody_can_write(store):
        await until(lambda: asyncio.to_thread(figure, worker, in_hand), 120, every=0.05)
        worker.pause()


async def test_a_paused_worker_and_the_one_that_took_over_leave_one_row_and_one_outcome(
    tmp_path, store, goal, size, capsys
):
    number, pauses = 0, size(smoke=2, full=25)
    async with Run(tmp_path, store, workers=2) as run:

        async def hits():
            return await asyncio.to_thread(second_deliveries, run.system.workers)

        async with run.load(per_second=20):
            # Whether the other one is given what was in hand before all is over is luck.
            while number < pauses or (number < 3 * pauses and await hits() < pauses):
                worker = run.system.workers[number % 2]
                number += 1
                await pause_with_something_in_hand(worker, store)
                run.fault(f"{worker.name} paused")
                await asyncio.sleep(PAST_THE_ACK_WAIT)
                worker.resume()
                await worker.ready()
        accepted = await run.check()
        run.hits = await hits()
    with capsys.disabled():
        print(f"\n  {run.summary()}")
    assert accepted == len(run.history)
    goal("F7 two workers on one message: twice", 0, "0", hits=run.hits, least=pauses)
