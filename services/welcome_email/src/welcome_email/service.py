"""Greets new users by e-mail, and tells the owner of an address that somebody tried it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, SignUpEmailHandled
from google.protobuf.timestamp_pb2 import Timestamp
from seaway import Envelope, Service
from seaway.inbox import Inbox

type Outcome = CreateUserConfirmed | CreateUserRejected
type Kind = SignUpEmailHandled.Kind.ValueType


class Post(Protocol):
    """What brings mail to people. Nothing is sent twice, as far as mail can promise that."""

    async def greet(self, message: Envelope[CreateUserConfirmed]) -> None:
        """Welcome a new user."""

    async def warn(self, message: Envelope[CreateUserRejected]) -> bool:
        """Tell the owner of an address; False if they have been told today."""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def welcome_email(post: Post, inbox: Inbox, clock: Callable[[], datetime] = utc_now) -> Service:
    """Send the mail that follows an outcome, and say that it has been dealt with."""
    service = Service("welcome-email", inbox)

    @service.on(CreateUserConfirmed, start="now", at_once=8)
    async def greet(message: Envelope[CreateUserConfirmed]) -> SignUpEmailHandled:
        if message.is_stale(clock()):
            return handled(message.body, SignUpEmailHandled.KIND_GREETING_STALE)
        await post.greet(message)
        return handled(message.body, SignUpEmailHandled.KIND_GREETING)

    @service.on(CreateUserRejected, start="now", at_once=8)
    async def warn(message: Envelope[CreateUserRejected]) -> SignUpEmailHandled:
        if message.body.reason != CreateUserRejected.REASON_EMAIL_TAKEN:
            return handled(message.body, SignUpEmailHandled.KIND_NO_MAIL)
        if await post.warn(message):
            return handled(message.body, SignUpEmailHandled.KIND_NOTICE)
        return handled(message.body, SignUpEmailHandled.KIND_NOTICE_SUPPRESSED)

    def handled(outcome: Outcome, kind: Kind) -> SignUpEmailHandled:
        user_id = outcome.user_id if isinstance(outcome, CreateUserConfirmed) else ""
        at = Timestamp()
        at.FromDatetime(clock())
        return SignUpEmailHandled(request_id=outcome.request_id, user_id=user_id, kind=kind, at=at)

    return service
