"""Users in SQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import uuid5

from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from acme.users.v1.address import normalised
from google.protobuf.timestamp_pb2 import Timestamp
from seaway.database import Database
from seaway.envelope import SEAWAY
from seaway.service import Row
from sqlalchemy import DateTime, MetaData, bindparam, select
from sqlalchemy.engine import Row as Selected
from sqlmodel import Field, SQLModel

from user_creation.service import Created

PAGE = 1000
"""Rows that are read at once when all are told."""
MIGRATIONS = Path(__file__).parent / "migrations"
"""How the tables came to be what they are."""


class User(SQLModel, table=True):
    """Somebody who has signed up."""

    __tablename__ = "users"
    metadata = MetaData()

    user_id: str = Field(primary_key=True)
    request_id: str = Field(unique=True)
    email: str
    """As typed."""
    email_normalised: str = Field(unique=True)
    display_name: str
    locale: str
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


users = User.metadata.tables["users"]

_these = users.c.request_id.in_(bindparam("request_ids", expanding=True))
EARLIER = select(users.c.request_id, users.c.user_id, users.c.created_at).where(_these)
"""Who was created by one of some requests. Made once: it is asked for every batch."""


@dataclass(frozen=True, slots=True)
class SqlUsers:
    """Fulfils `Users` within the transaction of the inbox."""

    database: Database

    async def add(self, requests: Sequence[CreateUserRequested]) -> Mapping[str, Created]:
        """Create a user for each request whose address is free; of several, the first gets it.

        Two statements, whether an address is taken or not: how long it takes says nothing. Rows
        go in by address, and those of one address in the order of the requests, so that two
        workers wait for each other but never in a circle.
        """
        now = datetime.now(UTC)
        rows = {request.request_id: row(request, now) for request in requests}
        in_order = sorted(rows.values(), key=itemgetter("email_normalised"))
        added = await self.database.add_new(users, in_order, key=users.c.request_id)
        at = timestamp(now)
        created = {i: Created(rows[i]["user_id"], at) for i in added}
        others = [i for i in rows if i not in added]
        return created | await self._earlier(others)

    async def _earlier(self, request_ids: Sequence[str]) -> dict[str, Created]:
        """Return those who were created by one of these very requests: it has won before."""
        these = {"request_ids": request_ids}
        found = await self.database.connection.execute(EARLIER, these)
        return {i: Created(user_id, timestamp(at)) for i, user_id, at in found}

    async def confirmed(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield everybody who was added since a moment, as the event that tells of it.

        It reads page after page, in no transaction. Raises DependencyDown.
        """
        c, after = users.c, ""
        page = select(users).where(c.created_at >= since).order_by(c.user_id).limit(PAGE)
        while True:
            async with self.database.reading() as connection:
                found = (await connection.execute(page.where(c.user_id > after))).all()
            for user in found:
                yield Row(confirmation(user), user.created_at.replace(tzinfo=UTC))
            if len(found) < PAGE:
                return
            after = found[-1].user_id


def user_id_for(request_id: str) -> str:
    """Return the id of the user that a request creates.

    Derived, not drawn: a request that is tried again, even if nothing was committed the first
    time, means the same user.
    """
    return str(uuid5(SEAWAY, f"user/{request_id}"))


def row(request: CreateUserRequested, now: datetime) -> dict[str, Any]:
    """Return a request as a row of `users`."""
    return {
        "user_id": user_id_for(request.request_id),
        "request_id": request.request_id,
        "email": request.email,
        "email_normalised": normalised(request.email),
        "display_name": request.display_name,
        "locale": request.locale,
        "created_at": now,
    }


def timestamp(at: datetime) -> Timestamp:
    """Return a time in UTC, whether it says so or, as SQLite's do, not."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def confirmation(user: Selected[Any]) -> CreateUserConfirmed:
    """Return the event that told of a row of `users`."""
    return CreateUserConfirmed(
        request_id=user.request_id,
        user_id=user.user_id,
        email=user.email,
        display_name=user.display_name,
        locale=user.locale,
        created_at=timestamp(user.created_at),
    )
