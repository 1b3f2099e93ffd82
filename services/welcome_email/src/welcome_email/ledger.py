"""What was handed to the mail server, and what came of it; the inbox of this service, too.

An inbox's transaction is open while its handler runs. Around a call to a mail server that would
be too long, and would forget the very thing that is to be remembered if it fails. So here looking
up, reserving and recording are three short transactions, and the last one is the inbox's own:
that a mail is SENT, that its message is handled, and the reply to it, are kept together.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from acme.users.v1 import SignUpEmailHandled
from google.protobuf.timestamp_pb2 import Timestamp
from seaway.database import SqlInbox
from seaway.errors import NotNow, Raced
from seaway.inbox import Handled, Transaction
from seaway.service import Row
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    delete,
    select,
    tuple_,
    update,
)

from welcome_email.counting import EMAILS

MIGRATIONS = Path(__file__).parent / "migrations"
"""How the tables came to be what they are."""
PAGE = 1000
"""Rows that are read at once when all are told."""

RESERVED, SENT, SKIPPED = "RESERVED", "SENT", "SKIPPED"
MAILED = (SignUpEmailHandled.KIND_GREETING, SignUpEmailHandled.KIND_NOTICE)

mails = Table(
    "mails",
    MetaData(),
    Column("durable", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("once", Text, unique=True),
    Column("request_id", Text),
    Column("user_id", Text),
    Column("kind", Integer),
    Column("parked", BigInteger),
    Column("at", DateTime(timezone=True), nullable=False),
)
"""Each row: the mail that follows one outcome. Two mails with the same `once` exclude each other.

It holds no address: `once` is a hash and a day. `parked` is the place in the stream at which a
mail was set aside that may have been sent.
"""

_durable: ContextVar[str] = ContextVar("_durable")


class Reservation(Enum):
    """What became of the wish to send a mail."""

    MADE = "it has not been handed over before"
    FOUND = "it was reserved before, and what came of that is not on record"
    PARKED = "so it was before, and the message was set aside for that"
    ELSEWHERE = "another mail of its kind was enough"


@dataclass(frozen=True)
class Ledger(SqlInbox):
    """An inbox that, beside what was handled, knows what was about to be sent."""

    in_hand: set[tuple[str, str]] = field(default_factory=set, compare=False)
    """What this process handles: the broker may deliver it again meanwhile, while it is away."""

    async def reserve(
        self, message_id: str, sequence: int, once: str | None = None
    ) -> Reservation:
        """Say that the mail of this message is going to be sent. Raises DependencyDown.

        It is kept at once. To be called while the message is handled. Raises Raced if another
        process has recorded meanwhile what became of it. A message that was parked and stands
        at a later place in the stream now was sent back by a person: it begins anew.
        """
        row = {
            "durable": _durable.get(),
            "message_id": message_id,
            "state": RESERVED,
            "attempts": 1,
            "once": once,
            "at": datetime.now(UTC),
        }
        c, this = mails.c, _this(_durable.get(), message_id)
        async with self.database.transaction() as connection:
            if await self.database.add_new(mails, [row], key=c.message_id):
                return Reservation.MADE
            again = update(mails).where(this).values(attempts=c.attempts + 1)
            found = (await connection.execute(again.returning(c.state, c.parked))).first()
            if found is None:
                return Reservation.ELSEWHERE
            if found.state != RESERVED:
                raise Raced(f"the mail of {message_id} is {found.state}")
            if found.parked is None:
                return Reservation.FOUND
            if found.parked >= sequence:
                return Reservation.PARKED
            await connection.execute(update(mails).where(this).values(parked=None))
            return Reservation.MADE

    async def park(self, message_id: str, sequence: int) -> None:
        """Say that it is set aside, so that it is not sent if this message comes once more.

        Raises DependencyDown.
        """
        row = update(mails).where(_this(_durable.get(), message_id)).values(parked=sequence)
        async with self.database.transaction() as connection:
            await connection.execute(row)

    async def release(self, message_id: str) -> None:
        """Say that it was certainly not sent. Raises DependencyDown."""
        await self._drop(_durable.get(), message_id)

    @asynccontextmanager
    async def transaction(self, durable: str) -> AsyncIterator[Transaction]:
        """Begin; what was recorded is kept at the end of the context, together, or not at all.

        In between no transaction is open. Raises Raced, DependencyDown, and NotNow for a message
        that this process has in hand already.
        """
        entries = Entries(durable, super().transaction(durable), self.in_hand)
        try:
            token = _durable.set(durable)
            try:
                yield entries
            finally:
                _durable.reset(token)
            await self._keep(durable, entries)
        finally:
            self.in_hand.difference_update(entries.mine)

    async def _keep(self, durable: str, entries: "Entries") -> None:
        if entries.recorded:
            async with super().transaction(durable) as transaction:
                await transaction.record(entries.recorded)
                for handled in entries.recorded:
                    await self._settle(durable, handled)
            for handled in entries.recorded:
                EMAILS.labels(outcome_of(said(handled))).inc()

    async def forget(self, durable: str, message_id: str) -> None:
        """Let a redrive begin anew; that of a parked mail is known by its place."""
        await self._drop(durable, message_id)
        await super().forget(durable, message_id)

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of some of what the stream has forgotten, and of the mails that followed it."""
        async with self.purging(durable, first, before) as gone:
            these = and_(mails.c.durable == durable, mails.c.message_id.in_(gone))
            await self.database.connection.execute(delete(mails).where(these))
            return len(gone)

    async def handled(self, since: datetime) -> AsyncIterator[Row[SignUpEmailHandled]]:
        """Yield what was settled since a moment, as the event that tells of it.

        It reads page after page, in no transaction. Raises DependencyDown.
        """
        c, after = mails.c, ("", "")
        page = select(mails).where(c.state != RESERVED).where(c.at >= since)
        page = page.order_by(c.durable, c.message_id).limit(PAGE)
        while True:
            async with self.database.reading() as connection:
                beyond = tuple_(c.durable, c.message_id) > tuple_(*after)
                found = (await connection.execute(page.where(beyond))).all()
            for row in found:
                at = Timestamp()
                at.FromDatetime(row.at)
                event = SignUpEmailHandled(
                    request_id=row.request_id, user_id=row.user_id, kind=row.kind, at=at
                )
                yield Row(event, row.at.replace(tzinfo=UTC))
            if len(found) < PAGE:
                return
            after = (found[-1].durable, found[-1].message_id)

    async def _settle(self, durable: str, handled: Handled) -> None:
        reply = said(handled)
        final = {
            "state": SENT if reply.kind in MAILED else SKIPPED,
            "request_id": reply.request_id,
            "user_id": reply.user_id,
            "kind": reply.kind,
            "at": reply.at.ToDatetime(UTC),
        }
        row = {"durable": durable, "message_id": handled.message_id, **final}
        await self.database.upsert(mails, [row], final, returning=[mails.c.message_id])

    async def _drop(self, durable: str, message_id: str) -> None:
        reserved = and_(mails.c.state == RESERVED, mails.c.parked.is_(None))
        this = and_(_this(durable, message_id), reserved)
        async with self.database.transaction() as connection:
            await connection.execute(delete(mails).where(this))


@dataclass(frozen=True, slots=True)
class Entries:
    """What is looked up now, and recorded at the end."""

    durable: str
    looking: AbstractAsyncContextManager[Transaction]
    in_hand: set[tuple[str, str]]
    mine: set[tuple[str, str]] = field(default_factory=set)
    recorded: list[Handled] = field(default_factory=list)

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Handled]:
        """Return those of the messages that have been handled, by id. To be called once.

        Raises NotNow.
        """
        these = {(self.durable, message_id) for message_id in message_ids}
        if not self.in_hand.isdisjoint(these):
            raise NotNow("this process has it in hand")
        self.mine.update(these)
        self.in_hand.update(these)
        async with self.looking as transaction:
            return await transaction.find(message_ids)

    async def record(self, handled: Sequence[Handled]) -> None:
        """Say that these are handled, when the context ends well."""
        self.recorded.extend(handled)


def _this(durable: str, message_id: str) -> ColumnElement[bool]:
    return and_(mails.c.durable == durable, mails.c.message_id == message_id)


def said(handled: Handled) -> SignUpEmailHandled:
    """Return the reply of this service to a message."""
    (reply,) = handled.replies
    return SignUpEmailHandled.FromString(reply.data)


def outcome_of(reply: SignUpEmailHandled) -> str:
    """Return `greeting` for KIND_GREETING."""
    return SignUpEmailHandled.Kind.Name(reply.kind).removeprefix("KIND_").lower()
