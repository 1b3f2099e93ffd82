"""A database without the tables of this release: an outage, and no message is to blame.

A table that is missing though the schema is as this release wants it is a slip in a handler.
"""

from pathlib import Path
from shutil import copytree

import pytest
from alembic.script import ScriptDirectory
from seaway.database import Database, SqlInbox
from seaway.errors import DependencyDown
from seaway.inbox import Handled
from seaway.outcome import RetryPolicy
from seaway.testing import MemoryBroker
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs
from user_creation.users import MIGRATIONS
from waiting import until
from workers import Running, Worker, a_request, confirmed

LATER = """
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{before}"
def upgrade():
    op.create_table("later", sa.Column("later", sa.Text, primary_key=True))
"""
HANDLED = Handled("a" * 20, sequence=1, sha256=bytes(32))


@pytest.fixture(autouse=True)
def logs():
    with capture_logs() as logs:
        yield logs


@pytest.fixture
async def database(database_url):
    """One with nothing in it, as a new volume has."""
    if file := make_url(database_url).database if "sqlite" in database_url else "":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        yield database


@pytest.fixture
async def worker_of():
    """A worker on a database, which asks it for a table that is not there."""

    async def made(database, table, **changes):
        async def handle(messages):
            await database.connection.execute(text(f"SELECT count(*) FROM {table}"))  # noqa: S608
            return [confirmed(message) for message in messages]

        broker = MemoryBroker(hurried=True)
        return await Worker.made(broker, handle, SqlInbox(database), **changes)

    return made


async def used(inbox):
    async with inbox.transaction("greeter") as transaction:
        await transaction.find([HANDLED.message_id])


async def recorded(inbox):
    async with inbox.transaction("greeter") as transaction:
        await transaction.record([HANDLED])


async def accounted(inbox):
    return [row async for row in inbox.accounted("greeter", 1, 2)]


@pytest.mark.parametrize(
    "use",
    [
        used,
        recorded,
        accounted,
        lambda inbox: inbox.trouble("greeter", ["a"]),
        lambda inbox: inbox.begun("greeter", "a", 2),
        lambda inbox: inbox.failed("greeter", ["a"], 1),
        lambda inbox: inbox.released("greeter", ["a"]),
        lambda inbox: inbox.forget("greeter", "a"),
    ],
    ids=["find", "record", "accounted", "trouble", "begun", "failed", "released", "forget"],
)
async def test_an_inbox_without_its_tables_is_a_dependency_that_is_down(database, use):
    inbox = SqlInbox(database)
    with pytest.raises(DependencyDown, match="user_creation: migrate") as down:
        await use(inbox)
    assert isinstance(down.value.__cause__, DBAPIError)
    await database.migrate()
    await use(inbox)


async def test_an_empty_database_empties_no_queue_into_the_dead_letters(database, worker_of):
    worker = await worker_of(database, "users", policy=RetryPolicy(failures=3))
    await worker.send(*(a_request(f"n{n}") for n in range(5)))
    for _ in range(30):
        await worker.round()
    assert await worker.letters() == []
    assert worker.consumer.breaker.is_open
    await database.migrate()
    async with Running(worker.consumer):
        await until(worker.is_settled, within=45)
    assert len(await worker.replies()) == 5


async def test_a_release_that_was_started_before_its_migration_waits_for_it(
    database, database_url, worker_of, tmp_path
):
    await database.migrate()
    migrations = copytree(MIGRATIONS, tmp_path / "migrations")
    before = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    (migrations / "versions/9999.py").write_text(LATER.format(before=before))
    async with Database(database_url, "user_creation", migrations) as later:
        worker = await worker_of(later, "later", policy=RetryPolicy(failures=3))
        await worker.send(a_request())
        for _ in range(10):
            await worker.round()
        assert await worker.letters() == []
        assert worker.consumer.breaker.is_open
        await later.migrate()
        await worker.rounds()
        assert len(await worker.replies()) == 1


async def test_a_slip_in_a_handler_is_a_failure_of_the_messages_that_meet_it(database, worker_of):
    await database.migrate()
    worker = await worker_of(database, "no_such_table", policy=RetryPolicy(failures=3))
    await worker.send(a_request())
    await worker.rounds()
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]
    assert not worker.consumer.breaker.is_open


async def test_what_a_migrated_database_refuses_stays_its_own_error(database):
    await database.migrate()
    with pytest.raises(DBAPIError):
        async with database.transaction() as connection:
            await connection.execute(text("SELECT nothing"))
    with pytest.raises(DBAPIError):
        async with database.reading() as connection:
            await connection.execute(text("SELECT nothing"))
    assert await database.ready()
