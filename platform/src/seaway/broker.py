"""The port to the broker: what Seaway needs of it, and nothing else.

Two things fulfil it, and one contract suite holds both to it: `seaway.jetstream` in processes,
`seaway.testing.MemoryBroker` in tests.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from seaway.errors import TooLarge

type Headers = Mapping[str, str]

HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What a header may be called, as in HTTP. A stream may hold others, which nobody can write."""
MAX_MESSAGE_BYTES = 60 * 1024
"""Headers and body together, of what we say ourselves."""
MAX_STORED_BYTES = 64 * 1024
"""What a stream takes from anybody, with what the broker has us add to a member of a batch.

It refuses more, while beyond its `max_payload` the server cuts the connection for good. So that
one is twice as much: a dead letter is as large as any message, and carries more headers.
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream keeps it."""

    subject: str
    data: bytes
    headers: Headers
    sequence: int
    at: datetime
    """When the broker stored it, by its clock."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker has this message, for good."""

    sequence: int
    repeated: bool = False
    """It had been stored before, with the same id and the same bytes."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The broker refused the message, because of another one that it keeps."""

    stored: Stored
    """The other: on the same subject with other content, or on a rival subject."""


@dataclass(frozen=True, slots=True)
class Posting:
    """A message ready to be stored."""

    stream: str
    subject: str
    data: bytes
    headers: Headers
    rivals: tuple[str, ...] = ()
    """Subjects on which nothing may be stored, or this is refused."""
    most_bytes: int = MAX_MESSAGE_BYTES
    """How large it may be. More for what others said, and we only hand on."""

    @property
    def size(self) -> int:
        """Headers and body together, in bytes."""
        text = "".join((*self.headers, *self.headers.values()))
        return len(text.encode()) + 4 * len(self.headers) + len(self.data)

    def check_size(self) -> None:
        """Raise TooLarge if it is more than it may be."""
        if self.size > self.most_bytes:
            raise TooLarge(f"{self.subject}: {self.size} bytes, more than {self.most_bytes}")

    def answer(self, stored: Stored) -> Receipt | Conflict:
        """Return what a refusal means, given the message that was there before."""
        same = (
            stored.subject == self.subject
            and stored.data == self.data
            and stored.headers.get("ce-id") == self.headers.get("ce-id")
        )
        return Receipt(stored.sequence, repeated=True) if same else Conflict(stored)


class Delivery(Protocol):
    """One attempt to hand over one message. Settle it once: ack, nak or term."""

    @property
    def subject(self) -> str:
        """Where it was published."""

    @property
    def data(self) -> bytes:
        """The body, as Protobuf."""

    @property
    def headers(self) -> Headers:
        """Empty if it has none."""

    @property
    def sequence(self) -> int:
        """Its place in the stream."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery. A broker that was killed may begin again at 1."""

    @property
    def at(self) -> datetime:
        """When the broker stored it, by its clock."""

    async def ack(self) -> None:
        """Say that it is done with. A killed broker forgets the last ones and repeats them."""

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again after `delay` seconds."""

    async def term(self, reason: str) -> None:
        """Ask never to see it again. `reason` is a fixed code, for the broker's advisory."""

    async def in_progress(self) -> None:
        """Start the ack wait anew."""


class Pull(Protocol):
    """One worker's hold on a durable. Not to be shared between loops."""

    async def fetch(self, up_to: int, wait: float) -> Sequence[Delivery]:
        """Return what is waiting, at most `up_to`; if nothing is, wait for it for `wait` seconds.

        Returns an empty sequence while the broker is away. Raises DurableGone.
        """

    async def close(self) -> None:
        """Fetch no more. What was fetched can still be settled."""


class Broker(Protocol):
    """A place that stores messages and hands them to every durable until it is told to stop."""

    async def publish(self, postings: Sequence[Posting]) -> Sequence[Receipt | Conflict]:
        """Store messages, many of them as one atomic batch where that can be; answer for each.

        On a stream that says once_per_key a repeat is recognised, however late it comes.
        Raises BrokerUnavailable and StreamFull (some may be stored: try again), and TooLarge.
        """

    async def read(self, stream: str, subject: str) -> Stored | None:
        """Return the last message on a subject.

        None does not mean that there is none: a replica that lags may have answered.
        Raises BrokerUnavailable.
        """

    def pull(self, stream: str, durable: str) -> AbstractAsyncContextManager[Pull]:
        """Bind to a durable that topology has made. Raises DurableGone at the first fetch."""

    def follow(
        self, subjects: str, tell: Callable[[Stored], None], lost: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Tell of each message on `subjects` as it is stored, for as long as the context lasts.

        `subjects` is a plain filter such as `users.v1.create-confirmed.*`: how the broker makes
        its messages known is its own business. Waits for the broker first. Nothing is kept for
        a follower: after `lost` was called some may be missing, so read.
        """
