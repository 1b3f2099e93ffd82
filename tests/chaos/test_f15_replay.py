"""The broker replays the whole stream, or forgets the acks it was given: nothing happens again."""

import asyncio
import time
from contextlib import asynccontextmanager

from backlogs import DURABLE, STREAM, drained, left, metric, put
from invariants import state_of
from processes import Processes
from seaway.jetstream import JetStream
from sign_ups import a_request

PER_SECOND = 2000
CHUNK = 200
MOST_KILLS = 60


@asynccontextmanager
async def worker_alone(folder, store):
    """A broker, one user-creation, and a connection of our own."""
    async with (
        Processes(folder, store, gateways=0) as system,
        JetStream(system.server.url, "test") as broker,
    ):
        await broker.connected()
        yield system, broker


async def settled(worker, outcome="acked"):
    """How many deliveries it has settled since it was started."""
    name = "seaway_messages_settled_total"
    return await asyncio.to_thread(metric, worker, name, outcome=outcome)


async def reset(broker):
    """Have the broker forget how far the durable had come: it begins again at the first."""
    config = (await broker.durables(STREAM))[DURABLE].config
    await broker.delete_durable(STREAM, DURABLE)
    await broker.put_durable(STREAM, config)


def effects(before, after):
    """What is there after a replay and was not before, or is there more than once."""
    added = [key for subject in after.stored for key in after.stored[subject]]
    known = [key for subject in before.stored for key in before.stored[subject]]
    return (len(added) - len(known)) + (len(after.users) - len(before.users)) + len(after.dead)


async def test_a_replay_of_the_whole_stream_has_no_effect(tmp_path, store, size, goal):
    count = size(smoke=5_000, full=100_000)
    async with worker_alone(tmp_path, store) as (system, broker):
        [worker] = system.workers
        await put(broker, [a_request() for _ in range(count)])
        await drained(broker)
        before, handled = await state_of(broker, store), await settled(worker)

        await reset(broker)
        began = time.monotonic()
        await drained(broker)
        seconds = time.monotonic() - began
        after, replayed = await state_of(broker, store), await settled(worker) - handled

    speed, new = replayed / seconds, effects(before, after)
    print(f"\n  {replayed:.0f} replayed in {seconds:.1f} s: {speed:.0f}/s; {new} effects")
    goal("R10", new, "0 effects", hits=int(replayed), least=count)
    met, hits = speed >= PER_SECOND, int(replayed)
    goal("R10-speed", round(speed), f">= {PER_SECOND}/s", hits=hits, least=count, met=met)
    assert len(before.users) == count
    assert before == after


async def test_acks_that_a_killed_broker_forgets_have_no_effect(tmp_path, store, size, goal):
    forgotten, kills, least = 0, 0, size(smoke=5, full=30)
    async with worker_alone(tmp_path, store) as (system, broker):
        [worker] = system.workers
        # The broker writes acks down within moments: whether it forgets some is luck.
        while kills < least or (not forgotten and kills < MOST_KILLS):
            kills += 1
            await put(broker, [a_request() for _ in range(CHUNK)])
            await drained(broker)
            await system.server.kill()
            await worker.kill()  # or it would have settled again what we are about to count
            await system.server.start()
            await broker.connected()
            forgotten += await left(broker)
            await worker.start()
            await drained(broker)
        state = await state_of(broker, store)

    new = len(state.users) - kills * CHUNK
    print(f"\n  {kills} kills right after the acks; {forgotten} acks forgotten, {new} effects")
    goal("R10-acks", new, "0 effects", hits=forgotten, least=1)
    assert new == 0
    assert {subject: len(keys) for subject, keys in state.stored.items()} == {
        "users.v1.create-requested": kills * CHUNK,
        "users.v1.create-confirmed": kills * CHUNK,
    }
    assert state.dead == []
