"""F21, F22: a CRM that is slow, or away for an hour, delays nobody, and is caught up with.

Its durable is its own. The fake CRM is a real server in the process of the test.
"""

import asyncio
import time
from contextlib import asynccontextmanager
from statistics import quantiles
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed
from backlogs import drained, metric
from crm.fake import FakeCrm, Faults, serving
from processes import Program, free_ports
from runner import Run
from seaway.envelope import Envelope
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from waiting import until

DURABLE = "crm-create-user-confirmed"
SLOW = 2.0
"""Seconds that the CRM takes for each call."""
ARRIVING = 40.0
"""People a second."""
SPIKE = 0.02
"""Seconds by which a shared machine may differ from itself."""


def a_crm(folder, url, fake, limit=100):
    settings = {
        "SEAWAY_NATS_URL": url,
        "SEAWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/crm.db",
        "SEAWAY_CRM_PORT": str(fake.port),
        "SEAWAY_CRM_CALLS_PER_10_SECONDS": str(limit),
    }
    [port] = free_ports(1)
    return Program("crm", settings, folder, port)


def waits(history):
    return [one.ended_at - one.begun for one in history if one.ended]


def p99(seconds):
    return quantiles(seconds, n=100)[98]


async def longest_wait(run, count):
    """Have so many people sign up; return the p99 of how long they waited."""
    before = len(run.history)
    async with run.load(ARRIVING) as load:
        await load.begun(before + count)
    return p99(waits(run.history[before:]))


async def test_a_slow_crm_delays_nobody_who_signs_up(tmp_path, store, size, goal):
    people = size(smoke=200, full=1_200)
    async with (
        Run(tmp_path, store) as run,
        serving(FakeCrm()) as fake,
        a_crm(tmp_path, run.system.server.url, fake) as crm,
    ):
        await crm.ready()
        run.system.workers.append(crm)  # it is audited with the others
        await longest_wait(run, 50)  # everything is warm
        fast = [await longest_wait(run, people)]
        fake.faults = Faults(seconds=SLOW)
        slow = await longest_wait(run, people)
        behind = len(run.history) - fake.calls["upserted"]
        fake.faults = Faults()
        fast += [await longest_wait(run, people)]
        await run.check()
    assert len(fake.contacts) == len(run.history)
    print(f"\n  p99 of a sign-up: {slow:.3f} s with a CRM of {SLOW} s; before and after: {fast}")
    print(f"  {behind} contacts waited for the CRM")
    goal("F21", round(slow / max(fast), 2), "<= 1.2", hits=behind, least=20)
    assert slow <= max(fast) * 1.2 + SPIKE


async def put_confirmed(broker, count):
    """Put users into the stream as user-creation would."""
    for start in range(0, count, 1000):
        keys = [str(uuid4()) for _ in range(min(1000, count - start))]
        users = [
            CreateUserConfirmed(
                request_id=key, user_id=key, email=f"{key}@example.org", display_name="Ada"
            )
            for key in keys
        ]
        await broker.publish([Envelope.opening(user, source="test").posting() for user in users])


@asynccontextmanager
async def an_hours_backlog(folder, count, fake, limit):
    """A CRM service that has been away while so many users were confirmed; it is started."""
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        async with a_crm(folder, server.url, fake, limit) as crm:
            await crm.stop()
            await put_confirmed(broker, count)
            await crm.start()
            await until(lambda: fake.calls["200"], within=30)
            yield broker, crm


@pytest.mark.parametrize("limit", [100, 190, 1_000_000], ids=["free", "professional", "no limit"])
async def test_a_backlog_drains_as_fast_as_the_crm_allows(tmp_path, size, goal, limit):
    # A hundred calls of a hundred contacts: the free plan takes ten seconds for them.
    waiting = size(smoke=10_000, full=20_000)
    enforced = limit if limit < 1_000_000 else 0
    async with (
        serving(FakeCrm(limit=enforced)) as fake,
        an_hours_backlog(tmp_path, waiting, fake, limit) as (broker, crm),
    ):
        began, before = time.monotonic(), fake.calls["upserted"]
        await until(lambda: fake.calls["upserted"] >= waiting, within=120, every=0.02)
        seconds = time.monotonic() - began
        await drained(broker, durable=DURABLE)
        again = await asyncio.to_thread(
            metric, crm, "seaway_messages_settled_total", outcome="retried"
        )
    speed, allowed = (waiting - before) / seconds, limit * 10.0
    print(f"\n  {waiting} waited, drained at {speed:.0f} contacts/s of {allowed:.0f} allowed")
    goal("F22", round(speed), f"what {limit} calls in 10 s allow", hits=before + 1, least=1)
    assert len(fake.contacts) == waiting
    assert fake.calls["429"] == again == 0
    assert fake.calls["200"] <= waiting / 100 + 2
    if limit == 100:  # more than that is not the CRM's matter alone, on a shared machine
        assert speed >= 0.7 * allowed


async def test_a_crm_that_was_away_costs_nothing_but_time(tmp_path, size, goal):
    waiting = size(smoke=1_000, full=20_000)
    async with (
        serving(FakeCrm(faults=Faults(status=503))) as fake,
        nats_server() as server,
        JetStream(server.url, "test") as broker,
    ):
        await broker.connected()
        async with a_crm(tmp_path, server.url, fake, 100_000) as crm:
            await put_confirmed(broker, waiting)
            await until(lambda: fake.calls["503"] >= 3, within=30)
            assert not crm.is_ready()
            refused, fake.faults = fake.calls["503"], Faults()
            began = time.monotonic()
            await crm.ready()
            closed = time.monotonic() - began
            await drained(broker, durable=DURABLE)
            letters = await asyncio.to_thread(
                metric, crm, "seaway_messages_settled_total", outcome="dead_lettered"
            )
    print(f"\n  {refused} calls in vain; ready {closed:.1f} s after the CRM was back")
    goal("R8", letters, "0 dead letters", hits=refused, least=3)
    assert letters == 0
    assert closed <= 10
    assert len(fake.contacts) == waiting == fake.calls["created"]
