"""A durable in memory: who has which message in hand, and when it is delivered again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from seaway.broker import Delivery, Headers, Stored
from seaway.errors import BrokerUnavailable, DurableGone, TopologyError
from seaway.topology import Config, Durable
from seaway.topology.backbone import BEGINNING
from seaway.topology.rules import covers, filters


@dataclass(slots=True)
class MemoryStream:
    """A stream in memory. Nothing ages out of it, so the first message is number 1."""

    config: Config
    messages: list[Stored] = field(default_factory=list)
    last: dict[str, Stored] = field(default_factory=dict)
    """By subject."""
    bytes: int = 0
    removed: set[int] = field(default_factory=set)
    created: datetime = BEGINNING

    def kept(self) -> list[Stored]:
        """Return what it keeps, in order."""
        return [message for message in self.messages if message.sequence not in self.removed]

    def before(self, config: Config) -> int:
        """Return the place before the one where a durable with this configuration begins."""
        match config:
            case {"deliver_policy": "new"}:
                return len(self.messages)
            case {"deliver_policy": "by_start_sequence", "opt_start_seq": int(first)}:
                return first - 1
        return 0

    def remove(self, sequence: int) -> bool:
        """Take a message out; return whether it was there."""
        message = next((m for m in self.kept() if m.sequence == sequence), None)
        if message is not None:
            self.removed.add(sequence)
            del self.last[message.subject]
        return message is not None


class Bell:
    """Wakes everybody who waits for something to change."""

    def __init__(self) -> None:
        # In the order in which they came: a test that is repeated goes the same way.
        self._waiting: dict[asyncio.Future[None], None] = {}

    def ring(self) -> None:
        """Wake them all; each looks for itself whether it matters to him."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, until: float | None = None) -> None:
        """Return at the next ring, or at this time of the event loop's clock."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            async with asyncio.timeout_at(until):
                await future
        except TimeoutError:
            return
        finally:
            del self._waiting[future]


@dataclass(slots=True)
class Lease:
    """A delivered message that is not settled."""

    attempt: int
    again_at: float
    """When it is delivered again, by the event loop's clock: after ack wait, or a nak's delay."""


@dataclass(slots=True)
class MemoryDurable:
    """How far a durable has come. All its workers share it."""

    stream: MemoryStream
    config: Config
    bell: Bell
    following: int = 0
    """How many messages of the stream it has been through."""
    delivered: int = 0
    in_hand: dict[int, Lease] = field(default_factory=dict)
    """By sequence."""
    is_away: bool = False
    """As the broker is. Nothing is handed out or settled."""
    is_hurried: bool = False
    """A nak's delay is over at once."""
    created: datetime = BEGINNING

    def take(self, up_to: int) -> list[Delivery]:
        """Hand out what is due again, then what is new."""
        if self.is_away:
            return []
        now = asyncio.get_running_loop().time()
        due = [(lease.again_at, seq) for seq, lease in self.in_hand.items()]
        again = [seq for again_at, seq in sorted(due) if again_at <= now][:up_to]
        return [self._hand_out(self.stream.messages[seq - 1]) for seq in again] + [
            self._hand_out(message) for message in self._new(up_to - len(again))
        ]

    def due_at(self) -> float:
        """Return when the next message is delivered again; while the broker is away, never."""
        if self.is_away:
            return float("inf")
        return min((lease.again_at for lease in self.in_hand.values()), default=float("inf"))

    def settle(self, sequence: int) -> None:
        """Never deliver this again."""
        self._check()
        self.in_hand.pop(sequence, None)
        self.bell.ring()

    def deliver_after(self, sequence: int, seconds: float) -> None:
        """Deliver this again after so many seconds, if it is not settled."""
        self._check()
        if lease := self.in_hand.get(sequence):
            lease.again_at = asyncio.get_running_loop().time() + seconds
            self.bell.ring()

    def rewind(self, sequence: int) -> None:
        """Go on from this place in the stream. Raises TopologyError if it began later."""
        if self.config["deliver_policy"] == "new" or sequence <= self.stream.before(self.config):
            raise TopologyError(f"{self.config['durable_name']} began later than {sequence}")
        self.following = self.delivered = sequence - 1
        self.in_hand.clear()
        self.bell.ring()

    @property
    def ack_wait(self) -> float:
        """Seconds until a delivery of which nothing is heard is made again."""
        return float(self.config["ack_wait"]) / 1e9

    def as_found(self) -> Durable:
        """Return what topology sees of it."""
        rest = self.stream.messages[self.following :]
        return Durable(
            config=self.config,
            pending=sum(self._fits(message) for message in rest),
            ack_pending=len(self.in_hand),
            ack_floor=min(self.in_hand) - 1 if self.in_hand else self.delivered,
            delivered=self.delivered,
            created=self.created,
        )

    @property
    def is_settled(self) -> bool:
        """Whether it has been through all its messages, and each is settled."""
        rest = self.stream.messages[self.following :]
        return not self.in_hand and not any(self._fits(message) for message in rest)

    def _new(self, up_to: int) -> list[Stored]:
        room = min(up_to, int(self.config["max_ack_pending"]) - len(self.in_hand))
        new: list[Stored] = []
        while len(new) < room and self.following < len(self.stream.messages):
            message = self.stream.messages[self.following]
            self.following += 1
            if self._fits(message):
                new.append(message)
        return new

    def _hand_out(self, message: Stored) -> Delivery:
        known = self.in_hand.get(message.sequence)
        attempt = known.attempt + 1 if known else 1
        again_at = asyncio.get_running_loop().time() + self.ack_wait
        self.in_hand[message.sequence] = Lease(attempt, again_at)
        self.delivered = max(self.delivered, message.sequence)
        return MemoryDelivery(self, message, attempt)

    def _fits(self, message: Stored) -> bool:
        wanted = any(covers(subjects, message.subject) for subjects in filters(self.config))
        return wanted and message.sequence not in self.stream.removed

    def _check(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("the broker is away")


@dataclass(frozen=True, slots=True)
class MemoryDelivery:
    """One attempt to hand over one message."""

    durable: MemoryDurable
    message: Stored
    attempt: int

    @property
    def subject(self) -> str:
        """Where it was published."""
        return self.message.subject

    @property
    def data(self) -> bytes:
        """The body, as Protobuf."""
        return self.message.data

    @property
    def headers(self) -> Headers:
        """Empty if it has none."""
        return self.message.headers

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        return self.message.sequence

    @property
    def at(self) -> datetime:
        """When it was stored."""
        return self.message.at

    async def ack(self) -> None:
        """Say that it is done with."""
        self.durable.settle(self.sequence)

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again after `delay` seconds."""
        self.durable.deliver_after(self.sequence, 0.0 if self.durable.is_hurried else delay)

    async def term(self, reason: str) -> None:
        """Ask never to see it again."""
        self.durable.settle(self.sequence)

    async def in_progress(self) -> None:
        """Start the ack wait anew."""
        self.durable.deliver_after(self.sequence, self.durable.ack_wait)


@dataclass(slots=True)
class MemoryPull:
    """One worker's hold on a durable."""

    name: str
    find: Callable[[], MemoryDurable | None]
    bell: Bell
    is_closed: bool = False

    async def fetch(self, up_to: int, wait: float) -> Sequence[Delivery]:
        """Return what is waiting, at most `up_to`; if nothing is, wait for it for `wait` seconds.

        Raises DurableGone.
        """
        until = asyncio.get_running_loop().time() + wait
        while not self.is_closed:
            durable = self.find()
            if durable is None:
                raise DurableGone(f"there is no durable {self.name}")
            taken = durable.take(up_to)
            if taken or asyncio.get_running_loop().time() >= until:
                return taken
            await self.bell.wait(min(until, durable.due_at()))
        return []

    async def close(self) -> None:
        """Fetch no more."""
        self.is_closed = True
        self.bell.ring()
