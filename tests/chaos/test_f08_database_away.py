"""The database is away: nothing is fetched, nothing is set aside, and nobody is sent away.

Down, killed, paused, cut off in the middle of a COMMIT; and SQLite held by somebody else, or not
there. Clients are told ACCEPTED meanwhile, and their outcome as soon as it is back.
"""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import pytest
from backlogs import drained, left, metric
from held import locked
from postgresql import PostgreSQL
from proxy import TO_CLIENT, TO_SERVER, Proxy
from runner import Run
from seaway.jetstream import JetStream
from sql import on
from sqlalchemy import make_url
from waiting import until

PER_SECOND = 50.0
TIMES_FASTER = 5
SETTLING = 3.0
"""Seconds that the smallest backlog takes: what was in hand comes again after one."""
OPENS_WITHIN = 5.0
CLOSES_WITHIN = 10.0
AWAY = float(os.environ.get("SEAWAY_AWAY_SECONDS", 0))
"""How long it is away, if it is to be longer: 600 for the ten minutes of the plan."""
COMMITTED = b"COMMIT\0"
"""How PostgreSQL answers a COMMIT."""
COMMIT = b"COMMIT;"
"""How it is asked for one."""
NOTE = "INSERT INTO charged VALUES (NEW.message_id)"
IF_CHARGED = "FOR EACH ROW WHEN (NEW.failures + NEW.kills > 0)"
NOTING = {
    "sqlite": [
        "CREATE TABLE charged (message_id TEXT)",
        f"CREATE TRIGGER first AFTER INSERT ON trials {IF_CHARGED} BEGIN {NOTE}; END",
        f"CREATE TRIGGER again AFTER UPDATE ON trials {IF_CHARGED} BEGIN {NOTE}; END",
    ],
    "postgresql": [
        "CREATE TABLE charged (message_id TEXT)",
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {NOTE.replace('charged', 'public.charged')}; RETURN NULL; END $$",
        "CREATE TRIGGER charging AFTER INSERT OR UPDATE ON user_creation.trials "
        f"{IF_CHARGED} EXECUTE FUNCTION noted()",
    ],
}
"""How a database notes each attempt that is held against a message."""


@contextmanager
def stopped(server):
    server.stop(signal.SIGQUIT)  # pg_ctl stop -m immediate
    try:
        yield
    finally:
        server.start()


@contextmanager
def killed(server):
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def paused(server):
    server.pause()
    try:
        yield
    finally:
        server.resume()


@pytest.fixture
def own_postgresql():
    with PostgreSQL() as server:
        yield server


@dataclass
class Seen:
    """What was seen of an outage. Times in seconds."""

    opened: float
    """From its beginning to an open breaker."""
    closed: float
    """From its end to a closed one."""
    waiting: int
    """Requests that waited when it ended."""
    drained: float
    """Until none waited."""
    accepted: float
    """The share of those who came meanwhile that were told ACCEPTED."""


async def breaker_is(worker, state):
    """Return after how many seconds it is open, 1, or closed, 0."""
    began = time.monotonic()

    async def says_so():
        return await asyncio.to_thread(metric, worker, "seaway_breaker_open") == state

    await until(says_so, within=120, every=0.05)
    return time.monotonic() - began


async def seen(run, load, outage, seconds):
    """Have the database away for so many seconds after the breaker has opened."""
    [worker] = run.system.workers
    async with JetStream(run.system.server.url, "test") as broker:
        await broker.connected()
        await load.caught()
        began = run.fault("database away")
        with outage:
            first = len(load.history)
            await breaker_is(worker, 1)
            opened = time.monotonic() - began
            over = time.monotonic() + seconds
            await until(lambda: time.monotonic() > over, seconds + 120, every=0.05)
            came = [one for one in load.history[first:] if one.begun < over - 1]
            accepted = sum(one.accepted for one in came) / len(came)
            waiting = await left(broker)
        closed = await breaker_is(worker, 0)
        began = time.monotonic()
        await drained(broker)
    return Seen(opened, closed, waiting, time.monotonic() - began, accepted)


@asynccontextmanager
async def watched(*arguments, **options):
    """A run in which no message is ever charged with an attempt, not for a moment.

    To look at its trials afterwards would say nothing: they go when a message is handled. So the
    database itself notes each failure and each kill that is written.
    """
    async with Run(*arguments, **options) as run:
        await on(run.store, *NOTING[make_url(run.store).get_backend_name()])
        yield run
        assert await on(run.store, "SELECT count(*) FROM charged") == 0


async def survives(run, store, outage, seconds, goal, name):
    """Have one outage under load, and hold everything to R8."""
    async with run.load(PER_SECOND) as load:
        it = await seen(run, load, outage, seconds)
    await run.check()  # dead letters among the rest: there are to be none
    speed = it.waiting / it.drained
    print(f"\n  {name}: opened after {it.opened:.1f} s, closed {it.closed:.1f} s after repair")
    print(f"  {it.waiting} waited, drained at {speed:.0f}/s; {run.summary()}")
    in_time = it.waiting / (TIMES_FASTER * PER_SECOND) + SETTLING
    for id, value, target, met in (
        ("R8", 0, "0 dead letters", True),
        ("R8-opens", it.opened, f"<= {OPENS_WITHIN:.0f} s", it.opened <= OPENS_WITHIN),
        ("R8-closes", it.closed, f"<= {CLOSES_WITHIN:.0f} s", it.closed <= CLOSES_WITHIN),
        ("R8-accepted", it.accepted, "1 of all who came meanwhile", it.accepted == 1.0),
        ("R8-drained", it.drained, f"<= {in_time:.0f} s", it.drained <= in_time),
    ):
        goal(id, round(value, 2), f"{target} ({name})", hits=it.waiting, least=10, met=met)


@pytest.mark.parametrize("outage", [stopped, killed, paused])
async def test_postgresql_goes_and_comes_back(tmp_path, own_postgresql, outage, size, goal):
    store = own_postgresql.new_database()
    seconds = AWAY or size(smoke=6 if outage is stopped else 2, full=30, long=600)
    async with watched(tmp_path, store) as run:
        name = f"PostgreSQL {outage.__name__}"
        await survives(run, store, outage(own_postgresql), seconds, goal, name)


async def test_sqlite_is_held_by_somebody_else(tmp_path, size, goal):
    file = tmp_path / "store.db"
    store = f"sqlite+aiosqlite:///{file}"
    async with watched(tmp_path, store) as run:
        seconds = AWAY or size(smoke=3, full=30)
        await survives(run, store, locked(file), seconds, goal, "SQLite locked")


async def test_sqlite_is_not_there_when_the_service_starts(tmp_path, size, goal):
    folder = tmp_path / "volume"
    folder.mkdir()
    store = f"sqlite+aiosqlite:///{folder}/store.db"
    async with watched(tmp_path, store) as run:
        [worker] = run.system.workers

        @contextmanager
        def missing():
            folder.rename(tmp_path / "elsewhere")
            yield
            (tmp_path / "elsewhere").rename(folder)

        await worker.stop()
        outage = missing()
        async with run.load(PER_SECOND) as load:
            with outage:
                await worker.start()
                await breaker_is(worker, 1)
                await load.begun(100)
            closed = await breaker_is(worker, 0)
        await run.check()
    print(f"\n  SQLite missing: closed {closed:.1f} s after it was there; {run.summary()}")
    met = closed <= CLOSES_WITHIN
    goal("R8-closes", round(closed, 1), "<= 10 s (SQLite missing)", hits=100, least=100, met=met)


@pytest.mark.parametrize(
    ("lost", "direction"),
    [(COMMITTED, TO_CLIENT), (COMMIT, TO_SERVER)],
    ids=["answer to COMMIT", "COMMIT"],
)
async def test_the_connection_is_cut_in_commit(
    tmp_path, own_postgresql, lost, direction, size, goal, request
):
    what = request.node.callspec.id
    store = own_postgresql.new_database()
    cuts = size(smoke=5, full=50)
    async with Proxy(own_postgresql.port) as link:
        through = store.replace(f":{own_postgresql.port}/", f":{link.port}/")
        async with watched(tmp_path, store, database_url=through) as run:
            [worker] = run.system.workers
            async with run.load(PER_SECOND) as load:
                for number in range(1, cuts + 1):
                    await load.caught()
                    run.fault(f"{what} lost")
                    link.lose_next(lost, direction)
                    await until(lambda: link.lost == number)  # noqa: B023
                    await breaker_is(worker, 0)
            await run.check()
            again = await asyncio.to_thread(
                metric, worker, "seaway_messages_settled_total", outcome="retried"
            )
    print(f"\n  {what}: {link.lost} lost, {again:.0f} tried again; {run.summary()}")
    goal("R8", 0, f"0 dead letters ({what} lost)", hits=link.lost, least=cuts)
