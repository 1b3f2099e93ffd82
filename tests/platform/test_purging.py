"""What an inbox keeps goes when its message has long gone from the stream, and not before."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from acme.users.v1 import CreateUserRequested
from prometheus_client import REGISTRY
from seaway.database import Database, SqlInbox, inbox_table, trials_table
from seaway.errors import DependencyDown
from seaway.inbox import Handled
from seaway.process.purging import keep_purging, purge
from seaway.service import Service
from seaway.topology import FoundStream
from sqlalchemy import select, text, update
from structlog.testing import capture_logs
from user_creation.users import MIGRATIONS
from waiting import until

DURABLE = "user-creation-create-user-requested"
OTHER = "somebody-else"
MONTH = timedelta(days=30)
LONG_AGO = timedelta(days=38)
NEARLY = timedelta(days=36)
LABELS = {"service": "user-creation", "message": "CreateUserRequested", "durable": DURABLE}


@pytest.fixture
async def unmigrated(database_url):
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        yield database


@pytest.fixture
async def database(unmigrated):
    await unmigrated.migrate()
    return unmigrated


@dataclass
class Broker:
    """The stream as it is, from its first message on."""

    first: int = 100

    async def streams(self):
        return {"USERS": FoundStream({}, 0, None, first=self.first, last=1000)}


async def put(database, ids, *, ago, durable=DURABLE, first=1):
    """Have messages handled, and as many others tried, so long ago."""
    inbox, at = SqlInbox(database), datetime.now(UTC) - ago
    async with inbox.transaction(durable) as transaction:
        rows = [Handled(id, first + n, bytes(32)) for n, id in enumerate(ids)]
        await transaction.record(rows)
    await inbox.failed(durable, [f"tried-{id}" for id in ids], attempt=1)
    async with database.transaction() as connection:
        for table, column, these in (
            (inbox_table, "handled_at", ids),
            (trials_table, "at", [f"tried-{id}" for id in ids]),
        ):
            chosen = table.c.message_id.in_(these)
            await connection.execute(update(table).where(chosen).values({column: at}))


async def kept(database, table=inbox_table):
    async with database.reading() as connection:
        rows = await connection.scalars(select(table.c.message_id))
        return sorted(rows)


def service_of(database, **stream):
    service = Service("user-creation", SqlInbox(database))

    @service.on_batch(CreateUserRequested)
    async def create(messages):
        """Nobody calls it here."""

    [subscription] = service.subscriptions
    changed = replace(subscription.stream, **stream)
    service.subscriptions = [replace(subscription, stream=changed)]
    return service


async def purged(database, first=100, **stream):
    service = service_of(database, **stream)
    await purge(Broker(first), service, service.subscriptions[0], asyncio.Event())


async def test_what_the_stream_has_not_kept_for_a_week_goes_and_nothing_else(database):
    await put(database, ["old"], ago=LONG_AGO)
    await put(database, ["not-a-week"], ago=NEARLY, first=2)
    await put(database, ["still-there"], ago=LONG_AGO, first=100)
    await put(database, ["another's"], ago=LONG_AGO, durable=OTHER)
    counted = REGISTRY.get_sample_value("seaway_messages_purged_total", LABELS) or 0
    with capture_logs() as logs:
        await purged(database)
    assert await kept(database) == ["another's", "not-a-week", "still-there"]
    assert await kept(database, trials_table) == ["tried-another's", "tried-not-a-week"]
    after = REGISTRY.get_sample_value("seaway_messages_purged_total", LABELS)
    assert after - counted == 3  # one that was handled, two that were tried in vain
    assert logs == [{"event": "purged", "durable": DURABLE, "messages": 3, "log_level": "info"}]


async def test_a_stream_that_forgets_nothing_loses_nothing(database):
    await put(database, ["old"], ago=LONG_AGO)
    await purged(database, max_age=None)
    await purged(database, first=1)
    assert await kept(database) == ["old"]
    await purged(database)
    assert await kept(database) == []


async def test_a_stream_that_keeps_for_longer_has_its_records_kept_for_longer(database):
    await put(database, ["old"], ago=LONG_AGO)
    await purged(database, max_age=2 * MONTH.total_seconds())
    assert await kept(database) == ["old"]


async def test_it_goes_a_thousand_at_a_time(database):
    await put(database, [f"{n:04}" for n in range(1500)], ago=LONG_AGO)
    inbox, before = SqlInbox(database), datetime.now(UTC) - MONTH
    assert [await inbox.purge(DURABLE, 9999, before) for _ in range(3)] == [2000, 1000, 0]
    assert await kept(database) == await kept(database, trials_table) == []


async def test_of_two_replicas_one_purges_and_the_other_does_not_wait(postgresql):
    url = postgresql.new_database()
    async with (
        Database(url, "user_creation", MIGRATIONS) as database,
        Database(url, "user_creation", MIGRATIONS) as another,
    ):
        await database.migrate()
        await put(database, ["old"], ago=LONG_AGO)
        before = datetime.now(UTC) - MONTH
        async with SqlInbox(database).purging(DURABLE, 9999, before) as gone:
            assert gone == ["old", "tried-old"]
            task = asyncio.create_task(SqlInbox(another).purge(DURABLE, 9999, before))
            assert await task == 0
        assert await SqlInbox(another).purge(DURABLE, 9999, before) == 0
        assert await kept(another) == []


async def test_what_the_database_refuses_is_for_the_next_time(database):
    await put(database, ["old"], ago=LONG_AGO)
    async with database.transaction() as connection:
        await connection.execute(text("DROP TABLE trials"))
    with pytest.raises(DependencyDown):
        await purged(database)
    assert await kept(database) == ["old"]


async def test_a_database_that_is_away_is_asked_again_the_next_time(unmigrated):
    stopping = asyncio.Event()
    with capture_logs() as logs:
        work = keep_purging(Broker(), service_of(unmigrated), stopping, every=0.01)
        task = asyncio.create_task(work)
        await until(lambda: [line["event"] for line in logs[:2]] == ["not purged"] * 2)
        await unmigrated.migrate()
        await put(unmigrated, ["old"], ago=LONG_AGO)

        async def nothing_left():
            return await kept(unmigrated) == []

        await until(nothing_left)
        stopping.set()
        await task
