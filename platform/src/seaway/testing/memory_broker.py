"""A broker that lives in one process and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from seaway.broker import Conflict, Posting, Pull, Receipt, Stored
from seaway.errors import BrokerUnavailable, StreamFull, TooLarge, TopologyError
from seaway.testing.memory_durable import Bell, MemoryDurable, MemoryPull, MemoryStream
from seaway.topology import Config, Durable, FoundStream
from seaway.topology.rules import covers


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Follower:
    """Somebody who is told what is stored."""

    subjects: str
    tell: Callable[[Stored], None]
    lost: Callable[[], None]


class MemoryBroker:
    """A Broker and a Backbone with JetStream's rules, as far as the platform relies on them.

    Its streams and durables are made like those of the real one, by `seaway.topology.apply`.
    Ack wait and delays run by the event loop's clock; a broker that is `hurried` counts the
    delay of a nak as over at once. Nothing ages out.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now, *, hurried: bool = False) -> None:
        self._now = now
        self._hurried = hurried
        self._streams: dict[str, MemoryStream] = {}
        self._durables: dict[tuple[str, str], MemoryDurable] = {}
        self._followers: list[Follower] = []
        self._bell = Bell()
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether nobody can reach it. Set it in a test."""
        return self._is_away

    @is_away.setter
    def is_away(self, away: bool) -> None:
        self._is_away = away
        for durable in self._durables.values():
            durable.is_away = away
        for follower in self._followers if not away else ():
            follower.lost()
        self._bell.ring()

    def messages(self, stream: str) -> Sequence[Stored]:
        """Return everything that a stream keeps, in order."""
        return tuple(self._streams[stream].kept())

    def forget_acks(self) -> None:
        """Begin anew with every durable, as a broker does that lost its acks in a power cut."""
        for durable in self._durables.values():
            durable.following = 0
            durable.in_hand.clear()
        self._bell.ring()

    async def settled(self) -> None:
        """Return when every durable has been through all its messages and settled each."""
        while not all(durable.is_settled for durable in self._durables.values()):
            await self._bell.wait()

    def unsettled(self) -> Mapping[str, int]:
        """Return how many messages each durable still has before it; none: it is left out."""
        found = {name: durable.as_found() for (_, name), durable in self._durables.items()}
        counts = {name: durable.pending + durable.ack_pending for name, durable in found.items()}
        return {name: count for name, count in counts.items() if count}

    async def publish(self, postings: Sequence[Posting]) -> Sequence[Receipt | Conflict]:
        """Store messages and answer for each.

        Raises BrokerUnavailable, StreamFull and TooLarge; then nothing was stored.
        """
        for posting in postings:
            posting.check_size()
        self._check()
        self._check_room(postings)
        answers = [self._store(posting) for posting in postings]
        self._bell.ring()
        return answers

    async def read(self, stream: str, subject: str) -> Stored | None:
        """Return the last message on a subject. Raises BrokerUnavailable."""
        self._check()
        return self._stream(stream).last.get(subject)

    async def scan(self, stream: str, subjects: str, after: int = 0) -> AsyncIterator[Stored]:
        """Yield what the stream keeps on `subjects` after a sequence, in order, up to now."""
        self._check()
        for stored in self._stream(stream).kept():
            if stored.sequence > after and covers(subjects, stored.subject):
                yield stored

    async def place_at(self, stream: str, moment: datetime) -> int | None:
        """Return the place of the first message stored at a moment or later; None: none is."""
        self._check()
        kept = self._stream(stream).kept()
        return next((stored.sequence for stored in kept if stored.at >= moment), None)

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first message on `subjects` after a place; None: there is none."""
        return await anext(self.scan(stream, subjects, sequence), None)

    async def count_after(self, stream: str, subjects: str, sequence: int) -> int:
        """Return how many messages on `subjects` there are after a place."""
        return sum([1 async for _ in self.scan(stream, subjects, sequence)])

    async def remove(self, stream: str, sequence: int) -> bool:
        """Take one message out of a stream; return whether it was there."""
        self._check()
        return self._stream(stream).remove(sequence)

    @asynccontextmanager
    async def pull(self, stream: str, durable: str) -> AsyncIterator[Pull]:
        """Bind to a durable. Raises DurableGone at the first fetch."""
        pull = MemoryPull(durable, partial(self._durables.get, (stream, durable)), self._bell)
        try:
            yield pull
        finally:
            await pull.close()

    @asynccontextmanager
    async def follow(
        self, subjects: str, tell: Callable[[Stored], None], lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Tell of each message on `subjects` as it is stored, for as long as the context lasts."""
        while self.is_away:
            await self._bell.wait()
        follower = Follower(subjects, tell, lost)
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name. Raises BrokerUnavailable."""
        self._check()
        return {
            name: FoundStream(
                config=s.config,
                bytes=s.bytes,
                oldest=s.messages[0].at if s.messages else None,
                last=len(s.messages),
                created=s.created,
            )
            for name, s in self._streams.items()
        }

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name. Raises BrokerUnavailable."""
        self._check()
        return {
            name: durable.as_found()
            for (of, name), durable in self._durables.items()
            if of == stream
        }

    async def put_stream(self, config: Config) -> None:
        """Create a stream, or give it this configuration."""
        self._check()
        new = MemoryStream(config, created=self._now())
        self._streams.setdefault(config["name"], new).config = config

    async def put_durable(self, stream: str, config: Config) -> None:
        """Create a durable, or give it this configuration. Raises TopologyError."""
        self._check()
        key = (stream, config["durable_name"])
        known = self._durables.get(key)
        if known is None:
            source = self._stream(stream)
            start = source.before(config)
            known = MemoryDurable(source, config, self._bell, start, start, created=self._now())
            known.is_hurried = self._hurried
            self._durables[key] = known
        if known.config["deliver_policy"] != config["deliver_policy"]:
            raise TopologyError("deliver policy can not be updated")
        known.config = config

    async def rewind_durable(self, stream: str, name: str, sequence: int) -> None:
        """Have a durable go on from this place in the stream. Raises TopologyError."""
        self._check()
        if (durable := self._durables.get((stream, name))) is None:
            raise TopologyError(f"{stream} has no durable {name}")
        durable.rewind(sequence)

    async def delete_durable(self, stream: str, name: str) -> None:
        """Delete a durable, and with it how far it had come."""
        self._check()
        if (durable := self._durables.pop((stream, name), None)) is None:
            raise TopologyError(f"{stream} has no durable {name}")
        durable.in_hand.clear()
        self._bell.ring()

    def _store(self, posting: Posting) -> Receipt | Conflict:
        stream = self._stream(posting.stream)
        once = stream.config["discard_new_per_subject"]
        for subject in (*((posting.subject,) if once else ()), *posting.rivals):
            if kept := stream.last.get(subject):
                return posting.answer(kept)
        sequence = len(stream.messages) + 1
        headers = dict(posting.headers)
        stored = Stored(posting.subject, posting.data, headers, sequence, self._now())
        stream.messages.append(stored)
        stream.last[posting.subject] = stored
        stream.bytes += posting.size
        self._tell(stream, stored)
        return Receipt(sequence)

    def _tell(self, stream: MemoryStream, stored: Stored) -> None:
        if not stream.config.get("republish"):
            return
        for follower in self._followers:
            if covers(follower.subjects, stored.subject):
                told = replace(stored, headers=dict(stored.headers))
                asyncio.get_running_loop().call_soon(follower.tell, told)

    def _check_room(self, postings: Sequence[Posting]) -> None:
        for name in {posting.stream for posting in postings}:
            stream = self._stream(name)
            new = [p for p in postings if p.stream == name and p.subject not in stream.last]
            largest = max((posting.size for posting in new), default=0)
            if 0 <= stream.config["max_msg_size"] < largest:
                raise TooLarge(f"{name} takes {stream.config['max_msg_size']} bytes at once")
            limit = stream.config["max_bytes"]
            if 0 <= limit < stream.bytes + sum(posting.size for posting in new):
                raise StreamFull(f"{name} takes {limit} bytes")

    def _stream(self, name: str) -> MemoryStream:
        if (stream := self._streams.get(name)) is None:
            raise BrokerUnavailable(f"nobody answers for stream {name}")
        return stream

    def _check(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("the broker is away")
