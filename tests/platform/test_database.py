"""A service's database: what a commit promises, what an error means, how the schema comes."""

import asyncio
import os
import signal
import sqlite3
import threading
from contextlib import AsyncExitStack, closing
from contextvars import copy_context

import pytest
from postgresql import PostgreSQL
from seaway.broker import Posting
from seaway.database import Database, SqlInbox, inbox_table
from seaway.errors import DependencyDown, Raced, SettingsError, Unprocessable
from seaway.inbox import Handled
from sqlalchemy import Column, MetaData, Table, Text, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from waiting import until

ENVIRONMENT = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
"""
FIRST = """
import sqlalchemy as sa
from alembic import op
from seaway.database import create_inbox
revision = "0001"
down_revision = None
def upgrade():
    create_inbox(op)
    op.create_table("notes", sa.Column("note", sa.Text, primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.create_table("more", sa.Column("more", sa.Text, primary_key=True))
"""
notes = Table("notes", MetaData(), Column("note", Text, primary_key=True))

POSTING = Posting(
    stream="NOTES",
    subject="notes.v1.taken.00000000-0000-0000-0000-000000000001",
    data=bytes(range(256)),
    headers={"ce-id": "b", "ce-type": "note.Täken\u0000", "a": "last"},
    rivals=("notes.v1.refused.00000000-0000-0000-0000-000000000001",),
)


def handled(message_id, replies=()):
    return Handled(message_id, sequence=7, sha256=bytes(32), replies=replies)


@pytest.fixture
def migrations(tmp_path):
    folder = tmp_path / "100% migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions/0001.py").write_text(FIRST)
    return folder


@pytest.fixture
def second(migrations):
    """Return a function that writes a later release's migration."""

    def write(script=SECOND):
        (migrations / "versions/0002.py").write_text(script)

    return write


@pytest.fixture
async def unmigrated(database_url, migrations):
    async with Database(database_url, "notes", migrations) as database:
        yield database


@pytest.fixture
async def database(unmigrated):
    await unmigrated.migrate()
    return unmigrated


@pytest.fixture
async def on_postgresql(postgresql, migrations):
    async with Database(postgresql.new_database(), "notes", migrations) as database:
        await database.migrate()
        yield database


@pytest.fixture
async def on_sqlite(tmp_path, migrations):
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/a.db", "notes", migrations) as database:
        await database.migrate()
        yield database


async def rows(database, table):
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def take(database, note):
    await database.add_new(notes, [{"note": note}], key=notes.c.note)


async def ended(work):
    """Return what a coroutine raises."""
    (error,) = await asyncio.gather(work, return_exceptions=True)
    return error


# Its URL


def test_making_one_touches_nothing(tmp_path):
    Database(f"sqlite+aiosqlite:///{tmp_path}/a.db", "notes", tmp_path)
    Database("postgresql+asyncpg://nobody@127.0.0.1:1/none", "notes", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@there/notes", "me:secret", ""], ids=["mysql", "no url", "empty"]
)
def test_a_url_of_something_else_is_refused_and_its_password_not_shown(url, tmp_path):
    with pytest.raises(SettingsError, match="SEAWAY_DATABASE_URL") as refused:
        Database(url, "notes", tmp_path)
    assert "secret" not in str(refused.value)


def test_a_schema_that_sql_would_have_to_quote_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="No-tes"):
        Database("sqlite:///a.db", "No-tes", tmp_path)


@pytest.mark.parametrize("plain", ["sqlite", "postgresql"])
def test_the_driver_need_not_be_named(plain, tmp_path):
    Database(f"{plain}:///notes", "notes", tmp_path)


# Its schema


async def test_it_is_ready_when_it_has_been_migrated(unmigrated):
    assert not await unmigrated.ready()
    await unmigrated.migrate()
    assert await unmigrated.ready()


async def test_migrating_again_changes_nothing(database):
    async with database.transaction():
        await take(database, "kept")
    await database.migrate()
    assert await rows(database, notes) == 1


async def test_replicas_may_migrate_at_once(database_url, migrations):
    replicas = [Database(database_url, "notes", migrations) for _ in range(5)]
    async with AsyncExitStack() as open_ones, asyncio.TaskGroup() as tasks:
        for replica in replicas:
            tasks.create_task((await open_ones.enter_async_context(replica)).migrate())
    async with replicas[0] as replica:
        assert await replica.ready()


async def test_a_file_that_another_process_is_just_making_is_waited_for(tmp_path):
    other = sqlite3.connect(f"{tmp_path}/a.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    soon = threading.Timer(0.1, other.execute, ["COMMIT"])
    soon.start()
    database = Database(f"sqlite:///{tmp_path}/a.db", "notes", tmp_path)
    async with database, database.reading() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
    soon.join()
    other.close()


async def test_a_later_release_migrates_what_an_earlier_one_left(database, database_url, second):
    second()
    async with Database(database_url, "notes", database._migrations) as later:
        assert not await later.ready()
        await later.migrate()
        assert await later.ready()
        assert await rows(later, text("more")) == 0


async def test_an_earlier_release_works_with_what_a_later_one_left(
    unmigrated, database_url, migrations, second, tmp_path
):
    second()
    async with Database(database_url, "notes", migrations) as later:
        await later.migrate()
    (migrations / "versions/0002.py").unlink()
    await unmigrated.migrate()
    assert await unmigrated.ready()
    assert await rows(unmigrated, text("more")) == 0


async def test_a_migration_that_fails_leaves_nothing(database, database_url, second):
    second(SECOND + "    raise ZeroDivisionError\n")
    async with Database(database_url, "notes", database._migrations) as later:
        with pytest.raises(ZeroDivisionError):
            await later.migrate()
        assert not await later.ready()
        with pytest.raises(DependencyDown) as missing:
            await rows(later, text("more"))
        assert "more" in str(missing.value.__cause__)


async def test_everything_lies_in_the_schema_of_the_service(on_postgresql):
    async with on_postgresql.reading() as connection:
        listed = await connection.execute(
            text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^pg_|^info'")
        )
    assert {*listed} == {
        ("notes", name) for name in ("alembic_version", "inbox", "notes", "trials")
    }


# Its promises


async def test_every_pooled_connection_of_sqlite_has_every_pragma(on_sqlite):
    async with AsyncExitStack() as open_ones:
        opened = [await open_ones.enter_async_context(on_sqlite.reading()) for _ in range(16)]
        for connection in opened:
            asked = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            answers = [await connection.scalar(text(f"PRAGMA {name}")) for name in asked]
            assert answers == ["wal", 2, 4000, 1]


async def test_every_connection_of_postgresql_has_limits(on_postgresql):
    async with on_postgresql.transaction() as connection:
        asked = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        answers = [await connection.scalar(text(f"SHOW {name}")) for name in asked]
        assert answers == ["1875ms", "1250ms", "30s"]
        assert await connection.scalar(text("SHOW transaction_isolation")) == "read committed"
        assert await connection.scalar(text("SHOW plan_cache_mode")) == "force_custom_plan"


async def test_sqlite_without_a_write_ahead_log_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="journal_mode = memory"):
        async with Database("sqlite+aiosqlite:///:memory:", "notes", tmp_path):
            pass


async def test_postgresql_that_could_lose_a_commit_is_refused_by_name(migrations):
    with PostgreSQL("fsync=off", "full_page_writes=off") as forgetful:
        database = Database(forgetful.new_database(), "notes", migrations)
        with pytest.raises(SettingsError, match="fsync = off, full_page_writes = off"):
            await database.migrate()
        with pytest.raises(SettingsError, match="fsync = off"):
            async with database:
                pass


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
async def test_postgresql_that_does_not_wait_for_its_disk_is_refused(
    postgresql, migrations, value
):
    url = postgresql.new_database()
    postgresql.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = {value}")
    database = Database(url, "notes", migrations)
    with pytest.raises(SettingsError, match=f"synchronous_commit = {value}"):
        await database.migrate()


# Its transactions


async def test_what_a_transaction_does_is_kept(database):
    async with database.transaction():
        await take(database, "one")
    assert await rows(database, notes) == 1


async def test_a_transaction_that_raises_leaves_nothing(database):
    async def work():
        async with SqlInbox(database).transaction("durable") as transaction:
            await take(database, "one")
            await transaction.record([handled("m")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await rows(database, notes) == await rows(database, inbox_table) == 0


async def test_a_transaction_that_is_cancelled_leaves_nothing(database):
    begun = asyncio.Event()

    async def work():
        async with database.transaction():
            await take(database, "one")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(database, notes) == 0


async def test_a_statement_that_is_cancelled_is_nobody_being_away(on_postgresql):
    async def work():
        async with on_postgresql.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.1)
    assert await on_postgresql.ready()


async def test_on_sqlite_those_who_wait_to_write_keep_nobody_from_reading(on_sqlite):
    async def work(number):
        async with on_sqlite.transaction():
            await take(on_sqlite, str(number))

    outside = copy_context()
    async with on_sqlite.transaction(), asyncio.timeout(4):
        waiting = [asyncio.create_task(work(n), context=outside.copy()) for n in range(20)]
        await asyncio.wait(waiting, timeout=0.05)
        assert await rows(on_sqlite, notes) == 0
    await asyncio.gather(*waiting)
    assert await rows(on_sqlite, notes) == 20


async def test_there_is_a_connection_only_within_a_transaction(database):
    with pytest.raises(RuntimeError, match="not in a transaction"):
        _ = database.connection
    async with database.transaction() as connection:
        assert database.connection is connection
        with pytest.raises(RuntimeError, match="in a transaction already"):
            async with database.transaction():
                pass
    with pytest.raises(RuntimeError, match="not in a transaction"):
        _ = database.connection


async def test_two_tasks_have_two_transactions(database):
    async def work(note):
        async with database.transaction() as connection:
            await take(database, note)
            return connection

    assert len({id(c) for c in await asyncio.gather(work("a"), work("b"))}) == 2
    assert await rows(database, notes) == 2


async def test_one_reads_while_another_writes(database):
    async with database.transaction():
        await take(database, "one")
        assert await rows(database, notes) == 0
        assert await database.ready()


# Its inbox


async def test_what_was_recorded_is_found_exactly(database):
    inbox = SqlInbox(database)
    given = [handled("a", (POSTING, POSTING)), handled("b")]
    async with inbox.transaction("durable") as transaction:
        await transaction.record(given)
    async with inbox.transaction("durable") as transaction:
        found = await transaction.find(["a", "b", "c"])
    assert found == {"a": given[0], "b": given[1]}
    assert list(found["a"].replies[0].headers) == list(POSTING.headers)


async def test_what_one_durable_has_handled_another_has_not(database):
    inbox = SqlInbox(database)
    for durable in ("one", "another"):
        async with inbox.transaction(durable) as transaction:
            assert await transaction.find(["a"]) == {}
            await transaction.record([handled("a")])


async def test_of_two_workers_with_one_message_one_has_raced_and_leaves_nothing(on_postgresql):
    inbox, both_looked = SqlInbox(on_postgresql), asyncio.Barrier(2)

    async def work(note):
        async with inbox.transaction("durable") as transaction:
            assert await transaction.find(["message", "zebra"]) == {}
            await both_looked.wait()
            await take(on_postgresql, note)
            await transaction.record([handled("zebra"), handled("message")])

    ended = await asyncio.gather(work("a"), work("b"), return_exceptions=True)
    assert [type(e) for e in ended if e] == [Raced]
    assert await rows(on_postgresql, notes) == 1
    assert await rows(on_postgresql, inbox_table) == 2


async def test_workers_who_record_the_same_messages_wait_but_not_in_a_circle(
    on_postgresql, all_waiting
):
    inbox = SqlInbox(on_postgresql)

    async def work(*message_ids):
        async with inbox.transaction("durable") as transaction:
            await transaction.record([handled(i) for i in message_ids])

    outside = copy_context()
    async with inbox.transaction("durable") as transaction:
        await transaction.record([handled("m")])
        workers = [
            asyncio.create_task(ended(work(*ids)), context=outside.copy())
            for ids in ("zma", "amz")
        ]
        await all_waiting(2)
    assert [type(await worker) for worker in workers] == [Raced, Raced]


async def test_on_sqlite_the_second_worker_looks_when_the_first_is_done(on_sqlite):
    inbox = SqlInbox(on_sqlite)

    async def work():
        async with inbox.transaction("durable") as transaction:
            if not (found := await transaction.find(["message"])):
                await transaction.record([handled("message")])
            return len(found)

    assert sorted(await asyncio.gather(work(), work())) == [0, 1]


async def test_what_was_recorded_before_has_raced(database):
    inbox = SqlInbox(database)
    async with inbox.transaction("durable") as transaction:
        await transaction.record([handled("a")])
    with pytest.raises(Raced, match="durable has handled a meanwhile"):
        async with inbox.transaction("durable") as transaction:
            await transaction.record([handled("b"), handled("a")])
    assert await rows(database, inbox_table) == 1


async def test_the_inbox_knows_when_and_that_it_was_handled(database):
    async with SqlInbox(database).transaction("durable") as transaction:
        await transaction.record([handled("a")])
    async with database.reading() as connection:
        row = (await connection.execute(select(inbox_table))).one()
    assert (row.sequence, row.outcome, bytes(row.sha256)) == (7, "ack", bytes(32))
    assert row.handled_at is not None


# Its errors


async def test_a_database_that_is_away_is_a_dependency_that_is_down_until_it_is_back(migrations):
    with PostgreSQL() as server:
        async with Database(server.new_database(), "notes", migrations) as database:
            await database.migrate()
            server.stop(signal.SIGQUIT)
            for _ in range(2):  # a connection that was cut; then none to be had
                with pytest.raises(DependencyDown, match="postgresql"):
                    async with database.transaction():
                        await take(database, "one")
            assert not await database.ready()
            server.start()
            async with database.transaction():
                await take(database, "one")
            assert await database.ready()


async def test_a_service_may_start_before_its_database(migrations):
    with PostgreSQL() as server:
        url = server.new_database()
        server.stop()
        async with Database(url, "notes", migrations) as database:
            with pytest.raises(DependencyDown) as down:
                await database.migrate()
            assert isinstance(down.value.__cause__, OSError)
            server.start()
            await database.migrate()


async def test_a_connection_that_is_cut_is_a_dependency_that_is_down(on_postgresql):
    async def work():
        async with on_postgresql.transaction() as connection:
            await take(on_postgresql, "one")
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DependencyDown, match="postgresql is away") as down:
        await work()
    assert down.value.__cause__ is not None
    assert await rows(on_postgresql, notes) == 0


async def test_a_server_that_says_nothing_is_a_dependency_that_is_down(
    postgresql, migrations, monkeypatch
):
    monkeypatch.setattr("seaway.database.connections.ANSWER_WITHIN", 0.2)
    async with Database(postgresql.new_database(), "notes", migrations) as database:
        await database.migrate()

        async def work():
            async with database.transaction() as connection:
                stopped.append(await connection.scalar(text("SELECT pg_backend_pid()")))
                os.kill(stopped[0], signal.SIGSTOP)
                await take(database, "one")

        stopped = []
        try:
            with pytest.raises(DependencyDown, match="TimeoutError"):
                await work()
            assert await rows(database, notes) == 0  # on another connection
        finally:
            os.kill(stopped[0], signal.SIGCONT)


class CutAtCommit:
    """A proxy that cuts a connection when a COMMIT passes: before it, or after it was done."""

    def __init__(self, server, *, before):
        self.server, self.before = server, before

    async def __aenter__(self):
        self.proxy = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.proxy.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.proxy.close()
        await self.proxy.wait_closed()

    async def serve(self, reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        back = asyncio.create_task(self.pass_back(from_server, writer))
        while b"COMMIT;" not in (asked := await reader.read(65536)):
            to_server.write(asked)
        back.cancel()
        await asyncio.wait([back])
        if not self.before:
            to_server.write(asked)
            await from_server.read(1)  # it answers: it has committed
        for end in (to_server, writer):
            end.transport.abort()

    async def pass_back(self, from_server, writer):
        while answered := await from_server.read(65536):
            writer.write(answered)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_commit_that_is_cut_is_unknown_and_the_inbox_knows(
    on_postgresql, postgresql, migrations, before
):
    async def work(database):
        async with SqlInbox(database).transaction("durable") as transaction:
            await take(database, "one")
            await transaction.record([handled("a", (POSTING,))])

    async with CutAtCommit(postgresql, before=before) as port:
        url = on_postgresql._url.replace(str(postgresql.port), str(port))
        async with Database(url, "notes", migrations) as through:
            with pytest.raises(DependencyDown):
                await work(through)
    async with SqlInbox(on_postgresql).transaction("durable") as transaction:
        found = await transaction.find(["a"])
    assert found == ({} if before else {"a": handled("a", (POSTING,))})
    assert await rows(on_postgresql, notes) == len(found)


class MuteAfterLogin(CutAtCommit):
    """A proxy that lets somebody in, and passes on no question then."""

    async def serve(self, reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        back = asyncio.create_task(self.pass_back(from_server, writer))
        while b"current_setting" not in (asked := await reader.read(65536)) and asked:
            to_server.write(asked)
        while await reader.read(65536):
            pass
        back.cancel()
        for end in (to_server, writer):
            end.transport.abort()


async def test_a_server_that_lets_us_in_and_says_no_more_is_down(
    on_postgresql, postgresql, migrations, monkeypatch
):
    monkeypatch.setattr("seaway.database.connections.ANSWER_WITHIN", 0.2)
    async with MuteAfterLogin(postgresql, before=True) as port:
        url = on_postgresql._url.replace(str(postgresql.port), str(port))
        async with Database(url, "notes", migrations) as through:
            with pytest.raises(DependencyDown, match="postgresql does not answer"):
                async with through.transaction():
                    await take(through, "one")


async def test_a_full_disk_is_a_dependency_that_is_down(on_sqlite):
    async def work():
        async with on_sqlite.transaction() as connection:
            await connection.execute(text("PRAGMA max_page_count = 1"))
            await take(on_sqlite, "x" * 100_000)

    with pytest.raises(DependencyDown, match="SQLITE_FULL"):
        await work()


async def test_a_folder_that_is_gone_is_a_dependency_that_is_down(tmp_path, migrations):
    url = f"sqlite+aiosqlite:///{tmp_path}/gone/a.db"
    async with Database(url, "notes", migrations) as database:
        with pytest.raises(DependencyDown, match="SQLITE_CANTOPEN"):
            async with database.transaction():
                pass
        assert not await database.ready()
        await database.migrate()
        assert await database.ready()


async def test_a_file_that_somebody_else_holds_too_long_is_a_dependency_that_is_down(
    tmp_path, migrations, monkeypatch
):
    monkeypatch.setattr("seaway.database.connections.PRAGMAS", ("PRAGMA busy_timeout = 20",))
    file = tmp_path / "a.db"
    sqlite3.connect(file).execute("PRAGMA journal_mode = WAL").connection.close()
    async with Database(f"sqlite+aiosqlite:///{file}", "notes", migrations) as database:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DependencyDown, match="SQLITE_BUSY"):
            async with database.transaction():
                pass
        other.close()
        async with database.transaction():
            pass


async def test_a_deadlock_is_the_fault_of_nobody_and_tried_again(on_postgresql):
    both_hold_one = asyncio.Barrier(2)

    async def work(first, then):
        async with on_postgresql.transaction() as connection:
            await connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await take(on_postgresql, first)
            await both_hold_one.wait()
            await take(on_postgresql, then)

    ended = await asyncio.gather(work("a", "b"), work("b", "a"), return_exceptions=True)
    (error,) = [e for e in ended if e]
    assert isinstance(error, Raced)
    assert await rows(on_postgresql, notes) == 2


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("55P03", DependencyDown),  # locked by somebody else for too long
        ("40001", Raced),
        ("22021", Unprocessable),  # no text of ours
        ("57014", DBAPIError),  # a statement that took too long may do so each time
        ("42P01", DBAPIError),
    ],
)
async def test_what_postgresql_says_is_put_down_to_whose_fault_it_is(on_postgresql, state, kind):
    with pytest.raises(kind):
        async with on_postgresql.transaction() as connection:
            await connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"))


def all_notes(database):
    """Everything that is noted about a message beside its handling, yet to be done."""
    inbox = SqlInbox(database)
    return [
        inbox.trouble("taker", ["a"]),
        inbox.begun("taker", "a", 2),
        inbox.failed("taker", ["a"], 2),
        inbox.released("taker", ["a"]),
        inbox.forget("taker", "a"),
    ]


async def test_notes_that_cannot_be_taken_are_no_fault_of_the_message(on_postgresql):
    async with on_postgresql.transaction() as connection:
        await connection.execute(text("ALTER TABLE trials RENAME TO somewhere"))
    told = await asyncio.gather(*all_notes(on_postgresql), return_exceptions=True)
    assert [type(error) for error in told] == [DependencyDown] * len(told)


async def test_notes_that_somebody_else_keeps_locked_are_waited_for_another_time(
    on_postgresql, migrations
):
    schema, url = on_postgresql.schema, on_postgresql._url
    async with Database(url, schema, migrations) as other, other.transaction() as holder:
        await holder.execute(text("LOCK TABLE trials IN ACCESS EXCLUSIVE MODE"))
        told = await asyncio.gather(*all_notes(on_postgresql), return_exceptions=True)
    assert [type(error) for error in told] == [DependencyDown] * len(told)


async def test_what_the_database_thinks_of_a_statement_stays_its_own_error(database):
    async with database.transaction():
        await take(database, "ada@example.org")
    with pytest.raises(IntegrityError) as error:
        async with database.transaction() as connection:
            await connection.execute(notes.insert(), {"note": None})
    assert "ada" not in str(error.value)


async def test_the_parameters_of_a_statement_are_in_no_error(database):
    with pytest.raises(DBAPIError) as error:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT nothing(:email)"), {"email": "ada@example.org"})
    assert "ada" not in str(error.value)


@pytest.mark.parametrize("times", [1, 2])
def test_no_thread_of_the_database_outlives_its_loop(tmp_path, migrations, times):
    """… though whoever was in a transaction was cut off in the middle of a statement.

    What such a thread had to say would reach nobody, and be an error of its own.
    """
    path = tmp_path / "test.db"
    before = set(threading.enumerate())

    async def cut_off():
        async with Database(f"sqlite+aiosqlite:///{path}", "notes", migrations) as database:
            await database.migrate()
            with closing(sqlite3.connect(path)) as other:
                other.execute("BEGIN IMMEDIATE")
                writing = asyncio.create_task(written(database))
                await until(lambda: set(threading.enumerate()) - before)
                for _ in range(times):
                    await asyncio.sleep(0.1)  # it waits for the other
                    writing.cancel()
                await asyncio.wait([writing], timeout=0.1)
                assert writing.done() == (times > 1)
        await asyncio.wait([writing])

    async def written(database):
        async with database.transaction():
            raise AssertionError("there is another writer")

    asyncio.run(cut_off())
    assert set(threading.enumerate()) <= before
