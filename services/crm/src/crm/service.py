"""Keeps the contacts of a customer-relationship system: every user is one."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from acme.users.v1 import CreateUserConfirmed, UserAddedToCrm
from google.protobuf.timestamp_pb2 import Timestamp
from seaway import Envelope, Service
from seaway.inbox import Inbox
from seaway.service import Row


class Contacts(Protocol):
    """The contacts of a CRM, whichever it is."""

    async def upsert(self, users: Sequence[CreateUserConfirmed]) -> Mapping[str, Exception]:
        """Add each user as a contact, or change the contact that has this e-mail address.

        Doing it again changes nothing. Returns, by request_id, why some are not there; all
        others are. Raises Unprocessable if the CRM refuses them together, and does not say
        which; DependencyDown if it is away, or wants to be left alone for longer.
        """

    def added(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield the contacts that were added since a moment, as the event that tells of each."""


def crm(contacts: Contacts, inbox: Inbox) -> Service:
    """Add every user to the CRM, a hundred in one call, or those of one second.

    The inbox's transaction is open during the call: see docs/decisions/0009.
    """
    service = Service("crm", inbox)
    service.projects(CreateUserConfirmed, contacts.added)

    @service.on_batch(CreateUserConfirmed, up_to=100, within=1.0)
    async def add_contacts(
        messages: Sequence[Envelope[CreateUserConfirmed]],
    ) -> Sequence[UserAddedToCrm | Exception]:
        users = [message.body for message in messages]
        failed = await contacts.upsert(users)
        return [failed.get(user.request_id) or added(user) for user in users]

    return service


def added(user: CreateUserConfirmed) -> UserAddedToCrm:
    """Return what is said of a user who is a contact now."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC))
    return UserAddedToCrm(request_id=user.request_id, user_id=user.user_id, at=at)
