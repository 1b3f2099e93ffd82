"""What the inbox in SQL remembers of attempts in vain, and of processes that died of them."""

import asyncio
import signal
import sys

import pytest
from seaway.database import Database, SqlInbox, inbox_table, trials_table
from seaway.errors import DependencyDown
from seaway.inbox import Handled, Trials
from seaway.outcome import RetryPolicy
from seaway.testing import MemoryBroker
from sqlalchemy import select
from structlog.testing import capture_logs
from user_creation.users import MIGRATIONS
from workers import Worker, a_request, by_name

BEGIN_AND_DIE = """
import asyncio, os, signal, sys
from seaway.database import Database, SqlInbox
from user_creation.users import MIGRATIONS

async def main(url, *ids):
    async with Database(url, "user_creation", MIGRATIONS) as database:
        inbox = SqlInbox(database)
        for id in ids:
            await inbox.begun("greeter", id, attempt=2)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def database(database_url):
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        await database.migrate()
        yield database


@pytest.fixture
def inbox(database):
    """The inbox, as this process sees it."""
    return SqlInbox(database)


@pytest.fixture
def another(database):
    """The same inbox, as another process sees it."""
    return SqlInbox(database)


async def handled(inbox, *ids):
    async with inbox.transaction("greeter") as transaction:
        rows = [Handled(id, sequence=1, sha256=bytes(32), again=True) for id in ids]
        await transaction.record(rows)


async def rows(database, table):
    async with database.reading() as connection:
        return [row.message_id for row in await connection.execute(select(table))]


async def test_failures_are_counted_for_each_message(inbox):
    assert await inbox.failed("greeter", ["a", "b"], 1) == [1, 1]
    assert await inbox.failed("greeter", ["b"], 2) == [2]
    assert await inbox.failed("greeter", ["c", "a", "b"], 1) == [1, 2, 3]


async def test_each_durable_counts_for_itself(inbox):
    await inbox.failed("greeter", ["a"], 1)
    assert await inbox.failed("warehouse", ["a"], 1) == [1]
    assert await inbox.begun("crm", "a", 2) == Trials()


async def test_a_message_that_is_named_twice_fails_once(inbox):
    assert await inbox.failed("greeter", ["b", "a", "b"], 1) == [1, 1, 1]


async def test_what_came_before_is_told_when_a_trial_begins(inbox):
    assert await inbox.begun("greeter", "a", 2) == Trials()
    await inbox.failed("greeter", ["a"], 2)
    assert await inbox.begun("greeter", "a", 3) == Trials(failures=1)


async def test_an_open_trial_of_ones_own_is_no_kill(inbox):
    """The transaction of the attempt did not come to its end, but we are still here."""
    for attempt in range(2, 9):
        assert await inbox.begun("greeter", "a", attempt) == Trials()


async def test_an_open_trial_of_another_process_is_a_kill(inbox, another):
    for kills in range(4):
        trier = (inbox, another)[kills % 2]
        assert await trier.begun("greeter", "a", 2) == Trials(kills=kills)


async def test_a_trial_that_failed_is_no_kill(inbox, another):
    await inbox.begun("greeter", "a", 2)
    await inbox.failed("greeter", ["a"], 2)
    assert await another.begun("greeter", "a", 3) == Trials(failures=1)


async def test_a_trial_that_was_released_counts_for_nothing(inbox, another):
    for trier in (inbox, another, inbox):
        assert await trier.begun("greeter", "a", 2) == Trials()
        await trier.released("greeter", ["a", "never begun"])


async def test_what_is_forgotten_begins_anew(inbox, another, database):
    await inbox.failed("greeter", ["a", "b"], 1)
    await another.begun("greeter", "a", 2)
    await inbox.forget("greeter", "a")
    await inbox.forget("greeter", "never known")
    assert await rows(database, trials_table) == ["b"]
    assert await inbox.begun("greeter", "a", 3) == Trials()


async def test_what_was_handled_leaves_no_trial(inbox, database):
    await inbox.failed("greeter", ["a", "b"], 1)
    await inbox.begun("greeter", "a", 2)
    await handled(inbox, "a", "b")
    assert await rows(database, trials_table) == []
    assert await rows(database, inbox_table) == ["a", "b"]


async def test_what_failed_and_is_handled_in_the_end_leaves_no_trial(start):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await start(handle)
    await worker.send(a_request())
    await worker.round()
    assert await rows(worker.inbox.database, trials_table)
    worker = await start(by_name())
    await worker.rounds()
    assert len(await worker.replies()) == 1
    assert await rows(worker.inbox.database, trials_table) == []


async def test_what_was_handled_cannot_kill(inbox, another, database):
    """Only its answer is published again."""
    await handled(inbox, "a")
    for trier in (inbox, another, inbox):
        assert await trier.begun("greeter", "a", 2) == Trials()
    assert await rows(database, trials_table) == []


async def test_an_attempt_that_is_rolled_back_leaves_its_trial(inbox, another):
    await inbox.begun("greeter", "a", 2)
    with pytest.raises(ZeroDivisionError):
        async with inbox.transaction("greeter"):
            raise ZeroDivisionError
    assert await another.begun("greeter", "a", 3) == Trials(kills=1)


async def test_two_workers_count_at_once_and_lose_no_failure(inbox, another):
    ids = [f"id-{n}" for n in range(50)]
    await asyncio.gather(
        *(
            each.failed("greeter", some, 1)
            for each in (inbox, another)
            for some in (ids, ids[::-1])
        )
    )
    assert await inbox.failed("greeter", ids, 1) == [5] * 50


async def test_a_killed_process_leaves_its_trials_open(inbox, database_url):
    for _ in range(2):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BEGIN_AND_DIE, database_url, "a", "b")
        )
        assert await child.wait() == -signal.SIGKILL
    assert await inbox.begun("greeter", "a", 2) == Trials(kills=2)
    await inbox.failed("greeter", ["a", "b"], 2)
    assert await inbox.begun("greeter", "b", 3) == Trials(failures=1, kills=1)


async def test_a_database_that_is_not_there_says_so(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/nothing/there.db"
    async with Database(url, "user_creation", MIGRATIONS) as database:
        inbox = SqlInbox(database)
        for call in (
            inbox.begun("greeter", "a", 2),
            inbox.failed("greeter", ["a"], 1),
            inbox.released("greeter", ["a"]),
            inbox.forget("greeter", "a"),
        ):
            with pytest.raises(DependencyDown):
                await call


# What the consumer makes of it


class Dies(BaseException):
    """Like a process that dies: nobody catches it, and nothing more is written."""


@pytest.fixture
def start(database):
    """Start a new process in the place of one that died; the broker and the inbox stay."""
    broker = MemoryBroker(hurried=True)

    async def new(handle, **changes):
        return await Worker.made(broker, handle, SqlInbox(database), **changes)

    with capture_logs():
        yield new


async def test_a_message_that_kills_its_process_is_set_aside_and_the_others_are_handled(start):
    killer, policy = by_name(Ada=Dies()), RetryPolicy(delays=(0.0,))
    worker = await start(killer, policy=policy)
    request = a_request()
    await worker.send(request)
    deaths = 0
    while not await worker.reasons():
        worker = await start(killer, policy=policy)
        try:
            await worker.round()
        except Dies:
            deaths += 1
            _come_again(worker.broker)
    assert deaths == 7  # once with nothing on record, once perhaps of another, five times alone
    assert await worker.reasons() == ["KILLS_ITS_PROCESS"]
    assert await rows(worker.inbox.database, trials_table) == []
    assert await worker.is_settled()


async def test_failures_in_turn_in_several_processes_add_up(start):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await start(handle, policy=RetryPolicy(failures=4))
    await worker.send(a_request())
    while not await worker.reasons():
        worker = await start(handle, policy=RetryPolicy(failures=4))
        await worker.round()
    assert len(handle.calls) == 4
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]


async def test_an_outage_during_which_processes_come_and_go_is_nobodys_kill(start):
    away = by_name(Ada=DependencyDown("no server"))
    worker = await start(away)
    await worker.send(a_request())
    for _ in range(12):
        worker = await start(away)
        assert await worker.round() == 1
    assert await worker.letters() == []
    worker = await start(by_name())
    await worker.rounds()
    assert len(await worker.replies()) == 1


async def test_a_batch_that_fails_on_a_dependency_leaves_no_trace(start, database):
    worker = await start(by_name(n0=DependencyDown("no server")))
    await worker.send(*(a_request(f"n{n}") for n in range(3)))
    for _ in range(5):
        await worker.round()
        worker.consumer.breaker.succeeded()
    async with database.reading() as connection:
        left = await connection.execute(select(trials_table))
        assert {(row.failures, row.kills) for row in left} <= {(0, 0)}
    assert await worker.letters() == []


def _come_again(broker):
    """Let the ack wait of all that is in hand be over."""
    for durable in broker._durables.values():
        for lease in durable.in_hand.values():
            lease.again_at = 0.0
