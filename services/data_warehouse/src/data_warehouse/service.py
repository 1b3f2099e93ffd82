"""Keeps every message of the users domain, for questions that nobody has thought of yet."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from acme.users.v1 import CreateUserConfirmed, UserAddedToWarehouse
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from seaway import Envelope, Service
from seaway.contract import address_of
from seaway.inbox import Inbox
from seaway.service import Row

STREAM = address_of(CreateUserConfirmed).stream.name


class Warehouse(Protocol):
    """A table with one row for each message."""

    async def add(self, messages: Sequence[Envelope[Message]]) -> None:
        """Have one row for each of these, however often it is given, in whatever order."""

    def users(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield the users whose rows were added since a moment."""


def data_warehouse(warehouse: Warehouse, inbox: Inbox, *, within: float = 5.0) -> Service:
    """Keep what was said, and say of each new user that he is kept."""
    service = Service("data-warehouse", inbox)

    @service.on_stream(STREAM, up_to=1000, within=within)
    async def keep(
        messages: Sequence[Envelope[Message]],
    ) -> Sequence[UserAddedToWarehouse | None]:
        await warehouse.add(messages)
        return [answer(message.body) for message in messages]

    service.projects(CreateUserConfirmed, warehouse.users)
    return service


def answer(body: Message) -> UserAddedToWarehouse | None:
    """Return what follows once a message is kept: only a new user is worth a word."""
    match body:
        case CreateUserConfirmed(request_id=request_id, user_id=user_id):
            at = Timestamp()
            at.GetCurrentTime()
            return UserAddedToWarehouse(request_id=request_id, user_id=user_id, at=at)
    return None
