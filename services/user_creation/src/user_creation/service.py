"""Creates users, once per address."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from google.protobuf.timestamp_pb2 import Timestamp
from seaway import Envelope, Service
from seaway.inbox import Inbox
from seaway.service import Row


@dataclass(frozen=True, slots=True)
class Created:
    """A user who exists because of a request."""

    user_id: str
    at: Timestamp


class Users(Protocol):
    """Everybody who has signed up."""

    async def add(self, requests: Sequence[CreateUserRequested]) -> Mapping[str, Created]:
        """Create a user for each request whose address is free; of several, the first gets it.

        Returns by request_id whoever exists because of it, now or since an earlier call.
        """

    def confirmed(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield everybody who was added since a moment, as the event that tells of it."""


def user_creation(users: Users, inbox: Inbox) -> Service:
    """Decide who becomes a user, in the transaction of the inbox."""
    service = Service("user-creation", inbox)
    service.projects(CreateUserConfirmed, users.confirmed)

    @service.on_batch(CreateUserRequested, up_to=256, at_once=2)
    async def create_users(
        messages: Sequence[Envelope[CreateUserRequested]],
    ) -> Sequence[CreateUserConfirmed | CreateUserRejected]:
        created = await users.add([message.body for message in messages])
        return [answer(message.body, created) for message in messages]

    return service


def answer(
    request: CreateUserRequested, created: Mapping[str, Created]
) -> CreateUserConfirmed | CreateUserRejected:
    """Return the outcome of one request."""
    user = created.get(request.request_id)
    if user is None:
        return CreateUserRejected(
            request_id=request.request_id,
            reason=CreateUserRejected.REASON_EMAIL_TAKEN,
            email=request.email,
            locale=request.locale,
        )
    return CreateUserConfirmed(
        request_id=request.request_id,
        user_id=user.user_id,
        email=request.email,
        display_name=request.display_name,
        locale=request.locale,
        created_at=user.at,
    )
