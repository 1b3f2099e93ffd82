"""The inbox as a table: what a durable has handled, in the transaction of the effect itself."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ARRAY,
    Case,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    delete,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from seaway.broker import Posting
from seaway.database.database import Database
from seaway.database.inbox_tables import inbox_table, trials_table
from seaway.database.purging import purged
from seaway.errors import DependencyDown, Raced
from seaway.inbox import Handled, Transaction, Trials

PAGE = 1000
"""Rows that are read at once when all is told."""


def _find(message_ids: ColumnElement[bool]) -> Select[tuple[str, int, bytes, str]]:
    c = inbox_table.c
    found = select(c.message_id, c.sequence, c.sha256, c.replies)
    return found.where(c.durable == bindparam("durable"), message_ids)


_given = bindparam("message_ids", type_=ARRAY(Text))
FIND = {
    "sqlite": _find(inbox_table.c.message_id.in_(bindparam("message_ids", expanding=True))),
    # An array, so that the statement is one and the same for any number.
    "postgresql": _find(inbox_table.c.message_id == any_(_given)),
}
"""What finds some of the messages that a durable has handled, by dialect."""


@asynccontextmanager
async def noting(
    where: AbstractAsyncContextManager[AsyncConnection],
) -> AsyncIterator[AsyncConnection]:
    """Read or write our own notes about a message. That it cannot be done is not its fault.

    A statement that takes too long is one of the message's own failures while it is handled;
    here it would end the process, and that would be put down to the message.
    """
    try:
        async with where as connection:
            yield connection
    except DBAPIError as error:
        raise DependencyDown(f"no notes can be taken: {type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class SqlInbox:
    """An inbox beside the tables that a service's handlers write to."""

    database: Database
    process: str = field(default_factory=lambda: uuid4().hex)
    """Tells a trial that this process left open from one whose process is no more."""

    @asynccontextmanager
    async def transaction(self, durable: str) -> AsyncIterator[Transaction]:
        """Begin; commit at the end of the context, roll back if it raises.

        Until then `database.connection` is the connection of this transaction. Raises
        DependencyDown, even at the end, when it is unknown whether all is kept or nothing.
        """
        async with self.database.transaction():
            yield SqlTransaction(durable, self.database)

    async def trouble(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return what came of earlier attempts, of those messages that are on record.

        A trial that another process began and never ended is among the kills. Raises
        DependencyDown.
        """
        c = trials_table.c
        these = select(c.message_id, c.failures, c.kills + self._left_open)
        these = these.where(c.durable == durable, c.message_id.in_(message_ids))
        async with noting(self.database.reading()) as connection:
            rows = await connection.execute(these)
        return {message_id: Trials(failures, kills) for message_id, failures, kills in rows}

    async def begun(self, durable: str, message_id: str, attempt: int) -> Trials:
        """Take note that this process now tries a message; return what came before.

        A trial that another process began and never ended counts as a kill; a message that is
        handled already is not tried, and cannot kill. Raises DependencyDown.
        """
        c, given = trials_table.c, {"durable": durable, "message_id": message_id}
        async with noting(self.database.transaction()):
            if await SqlTransaction(durable, self.database).find([message_id]):
                return Trials()
            row = await self.database.upsert(
                trials_table,
                [{**given, "begun_by": self.process}],
                {"kills": c.kills + self._left_open, "begun_by": self.process},
                returning=(c.failures, c.kills),
            )
        return Trials(*row[0])

    @property
    def _left_open(self) -> Case[int]:
        """1 for a row whose trial another process has begun and not ended."""
        begun_by = trials_table.c.begun_by
        return case((and_(begun_by.is_not(None), begun_by != self.process), 1), else_=0)

    async def failed(
        self, durable: str, message_ids: Sequence[str], attempt: int
    ) -> Sequence[int]:
        """Take note that these failed together; return how often each has failed now.

        Raises DependencyDown.
        """
        c, ids = trials_table.c, sorted(set(message_ids))
        rows = [{"durable": durable, "message_id": i, "failures": 1} for i in ids]
        async with noting(self.database.transaction()):
            kept = await self.database.upsert(
                trials_table,
                rows,
                {"failures": c.failures + 1, "begun_by": None},
                returning=(c.message_id, c.failures),
            )
        failures = dict(tuple(row) for row in kept)
        return [failures[message_id] for message_id in message_ids]

    async def released(self, durable: str, message_ids: Sequence[str]) -> None:
        """Take note that trials ended without a failure of the message's own.

        Raises DependencyDown.
        """
        c = trials_table.c
        these = and_(c.durable == durable, c.message_id.in_(message_ids))
        async with noting(self.database.transaction()) as connection:
            await connection.execute(update(trials_table).where(these).values(begun_by=None))

    async def forget(self, durable: str, message_id: str) -> None:
        """Forget the trials of a message, so that a redrive begins anew. Raises DependencyDown."""
        c = trials_table.c
        this = and_(c.durable == durable, c.message_id == message_id)
        async with noting(self.database.transaction()) as connection:
            await connection.execute(delete(trials_table).where(this))

    @property
    def is_kept(self) -> bool:
        """Yes, for longer than the stream keeps its messages."""
        return True

    async def accounted(self, durable: str, first: int, last: int) -> AsyncIterator[Handled]:
        """Yield what a durable handled at these places in the stream, in order; no replies.

        It reads page after page, so that no statement and no transaction takes long. Raises
        DependencyDown.
        """
        c, after = inbox_table.c, (first, "")
        page = select(c.sequence, c.message_id, c.sha256).where(c.durable == durable)
        page = page.where(c.sequence <= last).order_by(c.sequence, c.message_id).limit(PAGE)
        while True:
            async with self.database.reading() as connection:
                beyond = tuple_(c.sequence, c.message_id) > tuple_(*after)
                rows = (await connection.execute(page.where(beyond))).all()
            for row in rows:
                yield Handled(row.message_id, row.sequence, row.sha256)
            if len(rows) < PAGE:
                return
            after = (rows[-1].sequence, rows[-1].message_id)

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of some of what was handled before a moment, and before a place in the stream.

        Returns of how many messages; 0 as well if another replica is just doing it. Raises
        DependencyDown.
        """
        async with self.purging(durable, first, before) as gone:
            return len(gone)

    @asynccontextmanager
    async def purging(
        self, durable: str, first: int, before: datetime
    ) -> AsyncIterator[Sequence[str]]:
        """Yield the ids of what goes, in the transaction in which it goes.

        Raises DependencyDown.
        """
        async with noting(self.database.transaction()) as connection:
            yield await purged(connection, durable, first, before)


@dataclass(frozen=True, slots=True)
class SqlTransaction:
    """One transaction of a SqlInbox."""

    durable: str
    database: Database

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Handled]:
        """Return those of the messages that have been handled, by id."""
        these = {"durable": self.durable, "message_ids": message_ids}
        connection = self.database.connection
        rows = await connection.execute(FIND[connection.dialect.name], these)
        return {
            row.message_id: Handled(
                message_id=row.message_id,
                sequence=row.sequence,
                sha256=row.sha256,
                replies=_postings(row.replies),
            )
            for row in rows
        }

    async def record(self, handled: Sequence[Handled]) -> None:
        """Say that these are handled. Raises Raced if another worker has said so of one."""
        rows = {
            each.message_id: {
                "durable": self.durable,
                "message_id": each.message_id,
                "sequence": each.sequence,
                "sha256": each.sha256,
                "replies": _json(each.replies),
            }
            for each in sorted(handled, key=lambda each: each.message_id)
        }
        kept = await self.database.add_new(
            inbox_table, rows.values(), key=inbox_table.c.message_id
        )
        if raced := rows.keys() - kept:
            raise Raced(f"{self.durable} has handled {min(raced)} meanwhile")
        if again := [each.message_id for each in handled if each.again]:
            c = trials_table.c
            these = and_(c.durable == self.durable, c.message_id.in_(again))
            await self.database.connection.execute(delete(trials_table).where(these))


def _json(replies: Sequence[Posting]) -> str:
    fields: list[dict[str, Any]] = [
        {
            "stream": reply.stream,
            "subject": reply.subject,
            "data": b64encode(reply.data).decode(),
            "headers": dict(reply.headers),
            "rivals": reply.rivals,
        }
        for reply in replies
    ]
    return json.dumps(fields, separators=(",", ":"))


def _postings(replies: str) -> tuple[Posting, ...]:
    return tuple(
        Posting(
            stream=fields["stream"],
            subject=fields["subject"],
            data=b64decode(fields["data"]),
            headers=fields["headers"],
            rivals=tuple(fields["rivals"]),
        )
        for fields in json.loads(replies)
    )
