"""F21: a listener for which everything takes seconds delays nobody, and its memory stays as it is.

Each in turn: a mail server and a CRM that take 2 s for each call, an object store a second away.
All three run, and the wait of those who sign up is compared within the run, in turns: some while
all are quick, some while one is slow, again and again. So what else the machine has to do falls on
both alike.
"""

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import psutil
import pytest
from backlogs import left
from crm.fake import Faults
from listeners import DURABLES, caught_up, listening
from object_store import object_store
from proxy import Proxy
from runner import Run
from seaway.jetstream import JetStream

SLOW = {"smoke": 1.0, "full": 2.0}
"""Seconds that a mail server or a CRM takes for each call."""
FAR = 0.5
"""Seconds to the object store, and as many back; a commit asks it several times."""
ARRIVING = 40.0
"""People a second."""
ROUND = {"smoke": 20, "full": 100}
"""Who sign up beside quick listeners, and as many beside a slow one. The middle round counts, and
rounds are short: a disk that stalls for a moment makes the longest waits of the one it falls into.
"""
SPIKE = 0.02
"""Seconds by which a shared machine may differ from itself."""
MEGABYTE = 1 << 20


async def waits(run, count):
    """Have so many people sign up; return how long each waited."""
    before = len(run.history)
    async with run.load(ARRIVING) as load:
        await load.begun(before + count)
    return [one.ended_at - one.begun for one in run.history[before:] if one.ended]


def resident(program):
    """Megabytes of memory that a process has."""
    return psutil.Process(program.process.pid).memory_info().rss / MEGABYTE


@asynccontextmanager
async def a_far_table(run):
    """All listeners, the table in an object store at the other end of a link."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(object_store())
        link = await stack.enter_async_context(Proxy(store.port))
        settings = {
            "SEAWAY_WAREHOUSE_S3_ENDPOINT": f"http://127.0.0.1:{link.port}",
            "SEAWAY_WAREHOUSE_S3_ACCESS_KEY_ID": "ours",
            "SEAWAY_WAREHOUSE_S3_SECRET_ACCESS_KEY": "ours",
        }
        url = f"s3://{store.new_bucket()}/users"
        yield link, await stack.enter_async_context(listening(run, warehouse_url=url, **settings))


def slowed(slow, them, link, seconds):
    """Make one of them slow, and the others quick; none: all are quick."""
    them.server.seconds = seconds if slow == "mail" else 0.0
    them.fake.faults = Faults(seconds=seconds) if slow == "crm" else Faults()
    link.delay = FAR if slow == "warehouse" else 0.0


@dataclass
class Compared:
    """What one slow listener changes."""

    usual: float
    """Seconds that people wait beside quick ones …"""
    waited: float
    """… and beside the slow one, by the same percentile."""
    behind: int
    """Messages that waited for it."""
    grown: float
    """Megabytes of memory that it took more, at most."""


async def compared(run, them, link, broker, slow, size):
    """Have some sign up beside quick listeners, some beside a slow one, in turns."""
    people, at = size(**ROUND), size(smoke=90, full=99)
    quick, late, behind, grown = [], [], 0, 0.0
    listener = getattr(them, slow)
    before = resident(listener)
    for _ in range(size(smoke=3, full=5)):
        await caught_up(run)  # or those beside the quick ones would pay for the others
        quick.append(await waits(run, people))
        slowed(slow, them, link, size(**SLOW))
        late.append(await waits(run, people))
        behind += await left(broker, DURABLES[listener.module])
        grown = max(grown, resident(listener) - before)
        slowed(None, them, link, 0.0)
    usual, waited = (
        median(quantiles(each, n=100)[at - 1] for each in rounds) for rounds in (quick, late)
    )
    print(f"\n  {slow}: p{at} {waited:.3f} s, beside quick ones {usual:.3f} s")
    print(f"  {behind} messages waited for it; it took {grown:.0f} MB more")
    return Compared(usual, waited, behind, grown)


@pytest.mark.timeout(1200)
async def test_a_slow_listener_delays_nobody_who_signs_up(tmp_path, store, size, goal):
    async with (
        Run(tmp_path, store) as run,
        a_far_table(run) as (link, them),
        JetStream(run.system.server.url, "test") as broker,
    ):
        await broker.connected()
        await waits(run, 2 * size(**ROUND))
        await caught_up(run)  # everything is warm: a table's first commit loads 50 MB of libraries
        found = {
            slow: await compared(run, them, link, broker, slow, size)
            for slow in ("mail", "warehouse", "crm")
        }
        await caught_up(run)
        await run.check()
    target = f"<= 1.2 x and {SPIKE:g} s, p{size(smoke=90, full=99)}"
    for slow, seen in found.items():
        met, ratio = seen.waited <= seen.usual * 1.2 + SPIKE, round(seen.waited / seen.usual, 2)
        goal(f"F21-{slow}", ratio, target, hits=seen.behind, least=20, met=met)
        lean, grown = seen.grown < 50, round(seen.grown)
        goal(f"F21-{slow} memory", grown, "< 50 MB more", hits=seen.behind, least=20, met=lean)
