"""User creation is away for an hour, and the rest goes on: an hour's requests wait for it.

Scaled: 20,000 requests in full size, an hour at 50/s being 180,000.
"""

import asyncio
import time

from backlogs import drained, left, metric, put
from runner import Run
from seaway.jetstream import JetStream
from sign_ups import a_request

ARRIVING = 50.0
"""A second."""
TIMES_FASTER = 5


async def test_a_backlog_drains_and_whoever_waited_is_told(tmp_path, store, size, goal):
    waiting = size(smoke=5_000, full=20_000)
    async with Run(tmp_path, store) as run, JetStream(run.system.server.url, "test") as broker:
        await broker.connected()
        [worker] = run.system.workers
        await worker.stop()
        async with run.load(ARRIVING) as load:  # clients wait, too: all are told in the end
            await put(broker, [a_request() for _ in range(waiting)])
            await load.caught()
            run.hits, longest_wait = await left(broker), load.in_hand

            await worker.start()
            await worker.ready()
            began = time.monotonic()
            before = await left(broker)
            await drained(broker)
            seconds = time.monotonic() - began
        await run.check()
        again = await asyncio.to_thread(
            metric, worker, "seaway_messages_settled_total", outcome="retried"
        )

    speed = before / seconds
    print(f"\n  {run.hits} waited, {longest_wait} clients with them; {run.summary()}")
    print(f"  {before} drained in {seconds:.1f} s: {speed:.0f}/s; {again:.0f} tried again")
    goal("R9", round(speed), f">= {TIMES_FASTER * ARRIVING:.0f}/s", hits=run.hits, least=waiting)
    assert speed >= TIMES_FASTER * ARRIVING
    assert again == 0
