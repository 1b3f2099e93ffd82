"""F21: a listener for which everything takes seconds delays nobody, and its memory stays as it is.

Each in turn: a mail server and a CRM that take 2 s for each call, an object store a second away.
All three run, and the wait of those who sign up is compared within the run: before, slow, after.
"""

from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles

import psutil
import pytest
from backlogs import left
from crm.fake import Faults
from listeners import DURABLES, caught_up, listening
from object_store import object_store
from proxy import Proxy
from runner import Run
from seaway.jetstream import JetStream

SLOW = 2.0
"""Seconds that a mail server or a CRM takes for each call."""
FAR = 0.5
"""Seconds to the object store, and as many back; a commit asks it several times."""
ARRIVING = 40.0
"""People a second."""
SPIKE = 0.02
"""Seconds by which a shared machine may differ from itself."""
MEGABYTE = 1 << 20


def p99(history):
    return quantiles([one.ended_at - one.begun for one in history if one.ended], n=100)[98]


async def longest_wait(run, count):
    """Have so many people sign up; return the p99 of how long they waited."""
    before = len(run.history)
    async with run.load(ARRIVING) as load:
        await load.begun(before + count)
    return p99(run.history[before:])


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


def slowed(slow, them, link):
    """Make one of them slow, and the others quick; none: all are quick."""
    them.server.seconds = SLOW if slow == "mail" else 0.0
    them.fake.faults = Faults(seconds=SLOW) if slow == "crm" else Faults()
    link.delay = FAR if slow == "warehouse" else 0.0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("slow", ["mail", "warehouse", "crm"])
async def test_a_slow_listener_delays_nobody_who_signs_up(tmp_path, store, size, goal, slow):
    people = size(smoke=100, full=1_200)
    async with Run(tmp_path, store) as run, a_far_table(run) as (link, them):
        listener = getattr(them, slow)
        await longest_wait(run, people // 2)  # everything is warm
        quick = [await longest_wait(run, people)]
        before = resident(listener)
        slowed(slow, them, link)
        waited = await longest_wait(run, people)
        async with JetStream(run.system.server.url, "test") as broker:
            await broker.connected()
            behind = await left(broker, DURABLES[listener.module])
        grown = resident(listener) - before
        slowed(None, them, link)
        quick += [await longest_wait(run, people)]
        grown = max(grown, resident(listener) - before)
        await caught_up(run)
        await run.check()
    ratio = waited / max(quick)
    print(f"\n  {slow}: p99 {waited:.3f} s; before and after {quick}; {grown:.0f} MB more")
    print(f"  {behind} messages waited for it")
    goal(f"F21-{slow}", round(ratio, 2), "<= 1.2", hits=behind, least=20)
    goal(f"F21-{slow} memory", round(grown), "< 50 MB more", hits=behind, least=20)
    if size(smoke=False, full=True):  # the small one is too short for a p99
        assert waited <= max(quick) * 1.2 + SPIKE
        assert grown < 50
