"""Connections to SQLite and PostgreSQL, made so that a commit survives a power cut.

Errors are translated here, once: a database that is away is DependencyDown, whatever the driver
calls it; what a database thinks of a statement stays SQLAlchemy's own error.
"""

import sqlite3
from contextlib import suppress
from typing import Any

from prometheus_client import Gauge
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect, ExceptionContext
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_

from seaway.database.threads import Threads
from seaway.errors import DependencyDown, Raced, SeawayError, SettingsError, Unprocessable

AT_ONCE = 16
"""Connections of one process at most: as many as an `on` subscription has messages in hand."""
IN_USE = Gauge("seaway_database_connections", "Connections in use.", ("schema",))
MOST = Gauge("seaway_database_connections_max", "How many there may be at most.", ("schema",))
CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 2.5
"""Seconds after which a server that says nothing is away. It gives up a statement before that.

To let go of the connection takes up to 2 s more, so an outage is known within 5 s.
"""
PATIENCE = 600.0
"""The same for a migration."""

PRAGMAS = (
    "PRAGMA busy_timeout = 4000",  # ms: an outage, such as a locked file, is known within 5 s
    # NORMAL, the habit with WAL, lost 300 of 300 commits at a power cut; FULL lost none.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
ASK_AGAIN = 10
READING = "seaway_reading"
"""The option of a connection that will only read, and so need not be SQLite's one writer."""

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
DURABLE_VALUES = ("on", "remote_apply")

# Of PostgreSQL, by SQLSTATE: no connection, no resources (a full disk is one), shutting down,
# input or output failed, nobody we know, no such database, only reading (it became a standby).
# A lock that others keep for longer than we wait is no message's fault either.
AWAY_STATES = ("08", "53", "57P", "58", "28", "3D000", "25006", "55P03")
UNSTORABLE = "22"
"""The class of what PostgreSQL says of values that it cannot hold, as a text with a NUL in it."""
RACED = ("40001", "40P01")
"""Two transactions that could not both be: one of them has to begin anew."""
# Of SQLite: BUSY and LOCKED (somebody else has written for longer than we wait), READONLY, IOERR,
# CORRUPT, FULL, CANTOPEN, NOTADB.
AWAY_CODES = (5, 6, 8, 10, 11, 13, 14, 26)


def connections_to(url: str, schema: str, *, patient: bool = False) -> AsyncEngine:
    """Return a pool of connections, none of which is open yet.

    `patient` ones wait as long as a migration takes. Raises SettingsError if the URL is of
    neither database.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        pool = _sqlite(parsed)
    else:
        pool = _postgresql(parsed, schema, PATIENCE if patient else ANSWER_WITHIN)
    event.listen(pool.sync_engine, "do_connect", _connect)
    event.listen(pool.sync_engine, "handle_error", _translate)
    return pool


def is_away(error: BaseException) -> bool:
    """Whether a driver's error says that the database is away, so that no message is to blame."""
    state = getattr(error, "sqlstate", None) or ""
    code = getattr(error, "sqlite_errorcode", None) or 0
    # The low byte is the code, what is above it says more precisely why.
    return isinstance(error, OSError) or state.startswith(AWAY_STATES) or code & 255 in AWAY_CODES


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError("SEAWAY_DATABASE_URL: not the URL of a database") from error
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    driver = drivers.get(parsed.get_backend_name())
    if driver is None:
        known = " or ".join(f"{name}://" for name in drivers.values())
        raise SettingsError(f"SEAWAY_DATABASE_URL: {parsed.drivername}:// is not {known}")
    return parsed.set(drivername=driver)


def _sqlite(url: URL) -> AsyncEngine:
    threads = Threads()
    pool = create_async_engine(
        url,
        hide_parameters=True,  # no personal data in the text of an error
        poolclass=AsyncAdaptedQueuePool,
        pool_size=AT_ONCE,
        max_overflow=0,
        connect_args={"async_creator_fn": threads.connect},
    )
    event.listen(pool.sync_engine, "engine_disposed", lambda _: await_(threads.ended()))
    event.listen(pool.sync_engine, "connect", _set_pragmas)
    event.listen(pool.sync_engine, "begin", _begin)
    return pool


def _postgresql(url: URL, schema: str, answer_within: float) -> AsyncEngine:
    milliseconds = int(answer_within * 1000)
    pool = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=AT_ONCE,
        max_overflow=0,
        isolation_level="READ COMMITTED",
        connect_args={
            "timeout": CONNECT_WITHIN,
            "command_timeout": answer_within,
            "server_settings": {
                "application_name": schema,
                "search_path": schema,
                # A plan made when the inbox was empty reads all of it, and would be kept: to
                # find 256 messages among 15,000 took 36 ms, and 2 ms when planned each time.
                "plan_cache_mode": "force_custom_plan",
                "lock_timeout": str(milliseconds // 2),
                "statement_timeout": str(milliseconds * 3 // 4),
                "idle_in_transaction_session_timeout": str(max(milliseconds, 30_000)),
            },
        },
    )
    event.listen(pool.sync_engine, "connect", _refuse_if_forgetful)
    return pool


def _set_pragmas(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Take the beginning of transactions out of the driver's hands, and set every pragma."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    mode = _journal_mode(cursor)
    cursor.close()
    if mode != "wal":
        connection.close()
        raise SettingsError(f"SQLite has journal_mode = {mode}, not wal: it needs a local file")


def _journal_mode(cursor: DBAPICursor) -> str:
    """Ask for a write-ahead log; return what there is."""
    for _ in range(ASK_AGAIN):
        with suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        # Another process is making the same file, and this pragma does not wait for it (tried:
        # 20 in 750 are told "locked" at once). The beginning of a transaction does.
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("COMMIT")
    cursor.execute("PRAGMA journal_mode")
    return str((cursor.fetchone() or ("unknown",))[0])


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then wants to write cannot wait for another writer:
    # whoever might write is the one writer from the start.
    reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _refuse_if_forgetful(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Raise SettingsError if a power cut could take back what this server says is committed.

    Raises DependencyDown if it does not answer: nobody else translates what is raised here.
    """
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in DURABLE))
        values = dict(zip(DURABLE, cursor.fetchone() or (), strict=True))
        cursor.close()
        connection.rollback()
    except OSError as error:
        connection.driver_connection.terminate()  # to say good-bye it would wait for an answer
        raise DependencyDown(f"postgresql does not answer: {_named(error)}") from error
    forgetful = [f"{n} = {value}" for n, value in values.items() if value not in DURABLE_VALUES]
    if forgetful:
        connection.close()
        raise SettingsError(f"PostgreSQL has {', '.join(forgetful)}: it could lose a commit")


def _connect(
    dialect: Dialect, record: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
) -> DBAPIConnection:
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise DependencyDown(f"no connection to {dialect.name}: {_named(error)}") from error


def _translate(failure: ExceptionContext) -> SeawayError | None:
    """Return what is raised, from the original, in place of an error whose meaning we know."""
    error = failure.original_exception
    if not isinstance(error, Exception):
        # A cancelled task's connection counts as lost too, but that is nobody's fault.
        return None
    state = getattr(error, "sqlstate", None) or ""
    if failure.is_disconnect or is_away(error):
        return DependencyDown(f"{failure.dialect.name} is away: {_named(error)}")
    if state.startswith(UNSTORABLE):
        return Unprocessable("UNSTORABLE")
    if state in RACED:
        return Raced(_named(error))
    return None


def _named(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    return f"{type(error).__name__} {state}" if state else type(error).__name__
