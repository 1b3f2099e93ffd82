"""A service: what it listens to, and what it does then."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Literal, cast

from google.protobuf.message import Message

from seaway.contract import Stream, address_of, installed_types
from seaway.envelope import Envelope
from seaway.errors import ContractError
from seaway.inbox import Inbox, NoInbox
from seaway.outcome import RetryPolicy

TOGETHER_UNTIL = 5
"""The attempt up to which a projection takes messages that come again with others."""

type Start = Literal["beginning", "now"]
type Caused = Message | Sequence[Message] | None
"""What one message caused: nothing, one message, or several."""
type Replies = Caused | Exception
"""… or the error for which it alone failed: as if it had been raised, but only for this one."""
type Handler[M: Message] = Callable[[Envelope[M]], Awaitable[Replies]]
type BatchHandler[M: Message] = Callable[[Sequence[Envelope[M]]], Awaitable[Sequence[Replies]]]


@dataclass(frozen=True, slots=True)
class Row[M: Message]:
    """A row that a service keeps, told as the event that says the same."""

    event: M
    at: datetime
    """When the row was added, by the clock of the service."""
    forgotten: bool = False
    """Whether it was deleted on purpose, then: of the event only the key is left."""


type Rows[M: Message] = Callable[[datetime], AsyncIterator[Row[M]]]
"""Yields the rows added since a moment, in any order. It may take long, so it reads in pages."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Rows of which each stands for one event."""

    event: type[Message]
    rows: Rows[Message]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler, what it handles, and the durable that remembers how far it has come."""

    service: str
    durable: str
    stream: Stream
    messages: tuple[type[Message], ...]
    """The types it is given. Others on its subjects are unprocessable."""
    subjects: tuple[str, ...]
    """What the durable filters for, its own redrive subject included."""
    handle: BatchHandler[Message]
    up_to: int
    """The most messages that the handler is given at once."""
    at_once: int
    """How many such batches are in hand at the same time."""
    within: float = 0.0
    """How many seconds a batch may wait to fill."""
    start: Start = "beginning"
    """Where the durable starts when it is made for the first time."""
    together_until: int = 1
    """The attempt up to which deliveries are handled together. Later ones are handled alone."""
    ack_wait: float = 5.0
    """Seconds until the broker gives a delivery to another worker, if it hears nothing."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def max_ack_pending(self) -> int:
        """How many deliveries the broker hands out to all workers together."""
        return max(1000, 4 * self.up_to * self.at_once)


@dataclass(slots=True)
class Service:
    """A name and its subscriptions; a function of its dependencies makes one."""

    name: str
    inbox: Inbox = field(default_factory=NoInbox)
    """Where it remembers what it has handled. Without one, handling twice must do no harm."""
    subscriptions: list[Subscription] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a name that cannot be part of a durable's."""
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", self.name):
            raise ContractError(f"service name {self.name!r} is not kebab-case")

    def on[M: Message](
        self, message: type[M], *, start: Start = "beginning", at_once: int = 16
    ) -> Callable[[Handler[M]], Handler[M]]:
        """Handle messages of one type, each for itself, up to `at_once` at a time.

        What the handler returns is published as its reply before the message is acked. The
        order of messages is not kept; use on_batch with one batch at a time where it matters.
        `start` counts only when the durable is made for the first time: "now" for effects such as
        mail, so that nobody greets last month's users.
        """

        def subscribe(handler: Handler[M]) -> Handler[M]:
            @wraps(handler)  # it says what a message causes
            async def each(messages: Sequence[Envelope[M]]) -> Sequence[Replies]:
                return [await handler(message) for message in messages]

            self._listen(message, each, up_to=1, at_once=at_once, within=0.0, start=start)
            return handler

        return subscribe

    def on_batch[M: Message](
        self,
        message: type[M],
        *,
        up_to: int = 256,
        at_once: int = 1,
        within: float = 0.0,
        start: Start = "beginning",
    ) -> Callable[[BatchHandler[M]], BatchHandler[M]]:
        """Handle messages of one type, as many as are waiting, in one transaction.

        With `at_once` above 1 a backlog is handled in as many transactions side by side, so that
        one is published while another waits for the database; their order is not kept, then.
        The handler returns, for each message in the same order, what it caused. If it raises
        Unprocessable, the batch is halved until the one to blame is alone. Where it knows which
        ones failed it returns their errors in the place of what they caused: those are retried
        or set aside, the others are handled.
        """

        def subscribe(handler: BatchHandler[M]) -> BatchHandler[M]:
            self._listen(
                message, handler, up_to=up_to, at_once=at_once, within=within, start=start
            )
            return handler

        return subscribe

    def on_stream(
        self,
        stream: str,
        *,
        up_to: int = 1000,
        within: float = 5.0,
        start: Start = "beginning",
    ) -> Callable[[BatchHandler[Message]], BatchHandler[Message]]:
        """Handle every message of a stream, in the durable's order, one batch at a time.

        For projections. All installed contracts of the stream are decoded. What is delivered
        again is handled with the rest: what fails is the table, and hardly ever one message.
        Raises ContractError if no contract declares the stream.
        """
        types = tuple(t for t in installed_types().values() if address_of(t).stream.name == stream)
        if not types:
            raise ContractError(f"no installed contract declares stream {stream}")

        def subscribe(handler: BatchHandler[Message]) -> BatchHandler[Message]:
            declared = address_of(types[0]).stream
            durable = f"{self.name}-{stream.lower().replace('_', '-')}"
            self._add(
                Subscription(
                    service=self.name,
                    durable=durable,
                    stream=declared,
                    messages=types,
                    subjects=(
                        *(address_of(type_).every_key for type_ in types),
                        redrive_subject(declared, durable, "*"),
                    ),
                    handle=handler,
                    up_to=up_to,
                    at_once=1,
                    within=within,
                    start=start,
                    together_until=TOGETHER_UNTIL,
                )
            )
            return handler

        return subscribe

    def projects[M: Message](self, event: type[M], rows: Rows[M]) -> None:
        """Let the audit compare the rows that this service keeps with one type of events.

        There is to be one row for each event: of those that it causes, if it listens to none of
        them, and otherwise of those that it has handled. `rows` tells, from the service's own
        table, the event that each row stands for; only a hash of it leaves the process. Raises
        ContractError if messages of this type live in no stream.
        """
        address_of(event)
        self.projections.append(Projection(event, cast(Rows[Message], rows)))

    def _listen[M: Message](
        self,
        message: type[M],
        handler: BatchHandler[M],
        *,
        up_to: int,
        at_once: int,
        within: float,
        start: Start,
    ) -> None:
        address = address_of(message)
        durable = f"{self.name}-{kebab(message.DESCRIPTOR.name)}"
        self._add(
            Subscription(
                service=self.name,
                durable=durable,
                stream=address.stream,
                messages=(message,),
                subjects=(address.every_key, redrive_subject(address.stream, durable, "*")),
                # Only messages of its own type reach it: `messages` above sees to that.
                handle=cast(BatchHandler[Message], handler),
                up_to=up_to,
                at_once=at_once,
                within=within,
                start=start,
            )
        )

    def _add(self, subscription: Subscription) -> None:
        if any(s.durable == subscription.durable for s in self.subscriptions):
            raise ContractError(f"{self.name} listens twice through {subscription.durable}")
        self.subscriptions.append(subscription)


def redrive_subject(stream: Stream, durable: str, letter: str) -> str:
    """Return the subject that reaches one durable only; `letter` is the dead letter's sequence."""
    return f"{stream.subjects.removesuffix('>')}redrive.{durable}.{letter}"


def kebab(name: str) -> str:
    """Return CreateUserConfirmed as create-user-confirmed."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
