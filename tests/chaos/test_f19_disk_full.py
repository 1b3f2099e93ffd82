"""A disk is full, the broker's or the database's: nobody is told ACCEPTED for nothing.

A small disk in memory is filled by somebody else while people sign up. Then there is room again;
the broker's streams stay dead until it is restarted, a database goes on by itself.
"""

import asyncio
import time

import grpc
import pytest
from backlogs import metric
from disks import fill, needs_mounts, small_disk
from runner import Run
from seaway.testing.nats_server import NatsServer
from sign_ups import errors_of
from waiting import until

pytestmark = needs_mounts

MEGABYTES = 64
LEFT = 256 * 1024
"""Bytes that the broker still has when it begins: it is to be full in the middle of the work."""
PER_SECOND = 100.0
REFUSED = 50
DEADLINE = 10.0
"""Seconds of a client's call."""


@pytest.fixture
def disk():
    with small_disk(MEGABYTES) as folder:
        yield folder


def refusals(run):
    return sum(errors_of(run.history).values())


@pytest.mark.store("sqlite")
async def test_the_brokers_disk_is_full(tmp_path, store, disk, size, goal):
    server = NatsServer(disk)
    await server.start()
    try:
        async with Run(tmp_path, store, server=server) as run:
            for _ in range(size(smoke=1, full=5)):
                async with run.load(PER_SECOND) as load:
                    await load.caught()
                    run.fault("disk full")
                    ballast = fill(disk, leave=LEFT)
                    before = refusals(run)
                    await until(lambda: refusals(run) - before >= REFUSED, 120)  # noqa: B023
                    run.hits += refusals(run) - before
                    ballast.unlink()
                    await server.restart()
            accepted = await run.check()
            slowest = max(one.slowest_call for one in run.history)
            errors = errors_of(run.history)
    finally:
        await server.kill()
    print(f"\n  {run.summary()}; slowest call {slowest:.1f} s")
    goal("F19-broker", 0, f"0 of {accepted} accepted lost", hits=run.hits, least=REFUSED)
    assert set(errors) <= {grpc.StatusCode.UNAVAILABLE.name}
    met = slowest < DEADLINE
    goal("F19-told", slowest, f"< {DEADLINE:g} s", hits=run.hits, least=REFUSED, met=met)


async def test_the_databases_disk_is_full(tmp_path, disk, size, goal):
    store = f"sqlite+aiosqlite:///{disk}/store.db"
    async with Run(tmp_path, store) as run:
        [worker] = run.system.workers
        async with run.load(PER_SECOND) as load:
            for _ in range(size(smoke=1, full=5)):
                await load.caught()
                run.fault("disk full")
                ballast = fill(disk)
                await breaker_is(worker, 1)
                came = len(run.history)
                await load.begun(came + 100)
                run.hits += load.in_hand
                ballast.unlink()
                began = time.monotonic()
                await breaker_is(worker, 0)
                closed = time.monotonic() - began
        accepted = await run.check()
    print(f"\n  {run.summary()}; breaker closed after {closed:.1f} s")
    goal("F19-database", 0, f"0 of {accepted} accepted lost", hits=run.hits, least=REFUSED)
    goal("F19-closes", closed, "<= 10 s", hits=run.hits, least=REFUSED, met=closed <= 10)


async def breaker_is(worker, state):
    async def says_so():
        return await asyncio.to_thread(metric, worker, "seaway_breaker_open") == state

    await until(says_so, within=120, every=0.05)
