"""A service's database: its transactions, and its schema."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Column, Connection, Table, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateSchema

from seaway.database import revisions
from seaway.database.connections import AT_ONCE, IN_USE, MOST, READING, connections_to
from seaway.database.statements import adding
from seaway.errors import DependencyDown, SeawayError, SettingsError

_in_progress: ContextVar[Mapping["Database", AsyncConnection]] = ContextVar("_in_progress")


class Database:
    """One service's own database, on SQLite or PostgreSQL; nobody else reads it.

    Making one does no I/O. On PostgreSQL `schema` is the schema in which everything of the
    service lives. A database that is away raises DependencyDown, everywhere; if that happens at
    the end of a transaction, whether it was committed is unknown, and the inbox knows.
    """

    def __init__(self, url: str, schema: str, migrations: Path) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", schema):
            raise SettingsError(f"schema {schema!r} is not snake_case")
        self.schema = schema
        self._url = url
        self._migrations = migrations
        self._pool = connections_to(url, schema)
        IN_USE.labels(schema).set_function(self._in_use)
        MOST.labels(schema).set(AT_ONCE)
        # SQLite has one writer. Within the process it is chosen fairly, not by polling a file.
        self._writer: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self._pool.name == "sqlite" else nullcontext()
        )

    async def __aenter__(self) -> Self:
        """Raise SettingsError if it could lose a commit. If it is away, that is seen later."""
        with suppress(DependencyDown):
            async with self.reading():
                return self
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._pool.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin; commit at the end of the context, roll back if it raises.

        READ COMMITTED on PostgreSQL; on SQLite the only writer. Within it `connection` is the
        one that it yields, also for whoever is called. A transaction cannot hold another.
        """
        others = _in_progress.get({})
        if self in others:
            raise RuntimeError(f"{self.schema}: this task is in a transaction already")
        async with self._as_migrated(), self._writer, self._pool.begin() as connection:
            token = _in_progress.set({**others, self: connection})
            try:
                yield connection
            finally:
                _in_progress.reset(token)

    def _in_use(self) -> float:
        pool = self._pool.pool
        return float(pool.checkedout()) if isinstance(pool, QueuePool) else 0.0

    @property
    def connection(self) -> AsyncConnection:
        """The connection of the transaction that this task is in. Raises RuntimeError outside."""
        connection = _in_progress.get({}).get(self)
        if connection is None:
            raise RuntimeError(f"{self.schema}: not in a transaction; an inbox begins one")
        return connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Look at what is committed, beside all transactions; what it writes is not kept."""
        async with self._as_migrated(), self._for_reading() as connection:
            yield connection

    async def add_new(
        self, table: Table, rows: Iterable[Mapping[str, Any]], key: Column[str]
    ) -> set[str]:
        """Insert, in this order, the rows that no unique column forbids; return their keys.

        A row that another transaction is just adding is waited for. Two transactions that add
        rows in the order of the column over which they may clash cannot block each other.
        """
        if not (given := list(rows)):
            return set()
        statement, values = adding(self._pool.name, table, given, key.name)
        return set((await self.connection.execute(statement, values)).scalars())

    async def upsert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        change: Mapping[str, Any],
        returning: Sequence[Column[Any]],
    ) -> Sequence[Any]:
        """Insert each row, or change the one that is there; return what is asked of each."""
        dialect = sqlite if self._pool.name == "sqlite" else postgresql
        key = [column.name for column in table.primary_key]
        inserted = dialect.insert(table).on_conflict_do_update(index_elements=key, set_=change)
        answer = await self.connection.execute(inserted.returning(*returning), rows)
        return answer.all()

    async def migrate(self) -> None:
        """Bring the schema to what this release needs; all of it happens, or nothing.

        Any number of replicas may call it at once: one migrates, the others wait. A schema that
        is there already, or was left by a later release, stays as it is. Raises DependencyDown,
        and SettingsError for a server that could lose a commit or a migration that is unreadable.
        """
        pool = connections_to(self._url, self.schema, patient=True)
        if pool.name == "sqlite" and pool.url.database:
            Path(pool.url.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            async with pool.begin() as connection:
                await connection.run_sync(self._upgrade)
        finally:
            await pool.dispose()

    async def ready(self) -> bool:
        """Whether the database answers, and has the schema that this release needs."""
        try:
            async with self._for_reading() as connection:
                return not await connection.run_sync(self._is_behind)
        except (SeawayError, SQLAlchemyError, OSError):
            return False

    @asynccontextmanager
    async def _as_migrated(self) -> AsyncIterator[None]:
        """Raise DependencyDown for whatever the database refuses while its schema is behind.

        An empty volume, or a release that was started before its migration, makes every
        statement fail, and no message is to blame: it is an outage, and ends when `migrate` has
        run. The schema itself is asked, and not the kind of error: if it is as this release
        wants it, a table that is missing is a slip in a handler. That stays the failure of the
        messages that meet it, or one rare message would keep a breaker open for all others.
        """
        try:
            yield
        except DBAPIError as error:
            # By now the connection that failed has been given back.
            async with self._for_reading() as connection:
                behind = await connection.run_sync(self._is_behind)
            if behind:
                raise DependencyDown(f"{self.schema}: migrate its database first") from error
            raise

    def _for_reading(self) -> AsyncConnection:
        return self._pool.execution_options(**{READING: True}).connect()

    def _upgrade(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            lock = func.hashtextextended(f"seaway/{self.schema}", 0)
            connection.execute(select(func.pg_advisory_xact_lock(lock)))
            # To ask for it "if not exists" takes a right that a service need not have.
            if not inspect(connection).has_schema(self.schema):
                connection.execute(CreateSchema(self.schema))
        if self._is_behind(connection):
            migrating = import_module("seaway.database.migrating")
            migrating.upgrade(connection, self._migrations)

    def _is_behind(self, connection: Connection) -> bool:
        return not self._outdated.isdisjoint(revisions.current(connection))

    @cached_property
    def _outdated(self) -> frozenset[str | None]:
        return revisions.outdated(self._migrations)
