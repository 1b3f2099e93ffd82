"""Flow: one conversation as its opener sees it: opened, watched, resumed at any process.

A conversation is the messages that share a key. The broker keeps them; here is only who is
waiting for which, so a process that dies takes nothing with it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from typing import Self

import structlog
from google.protobuf.message import DecodeError, Message

from seaway import tracing
from seaway.broker import Broker, Conflict, Posting, Receipt, Stored
from seaway.contract import Address, address_of
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable, ContractError, KeyReused
from seaway.failpoints import crash_here
from seaway.telemetry import counted

log = structlog.get_logger("seaway.flow")

READ_AGAIN_AFTER = (0.1, 0.5, 2.0)
READ_AGAIN_EVERY = 5.0
READ_WITHIN = 1.0
READ_BACK_AFTER = (0.0, 0.02, 0.1, 0.3)
"""Seconds before each attempt to see what was just stored: a replica may lag."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A message of a conversation, as the stream keeps it."""

    body: Message
    sequence: int
    """Its place in the stream: watching after it resumes there."""
    at: datetime
    """When the broker stored it, by its clock."""


@dataclass(frozen=True, slots=True)
class Place:
    """One type of message in the order of a conversation."""

    stage: int
    """0 is the command. Types of which the broker stores only one share a stage."""
    message: type[Message]
    address: Address


class Watch:
    """The facts of one conversation in their order, each once; ends with the last stage asked for.

    What the broker tells live only makes it faster: it reads by itself, again and again, because
    nothing is kept for a follower. A step that was cancelled loses no fact.
    """

    def __init__(
        self,
        look: Callable[[Place], Coroutine[None, None, Fact | None]],
        places: Sequence[Place],
        after: int,
    ) -> None:
        self.reached: Fact | None = None
        """The last fact that was told, be it to an earlier watch that this one resumes."""
        self._look = look
        self._places = places
        self._after = after
        # One fact a stage, at most: all that a slow client can make us keep.
        self._known: dict[int, Fact] = {}
        self._stage = 0
        self._stirred = asyncio.Event()
        self.hurry()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Fact:
        while (fact := self._next()) is None:
            if self._stage > self._places[-1].stage:
                raise StopAsyncIteration
            crash_here("G4")
            await self._wait_or_read()
        return fact

    def hurry(self) -> None:
        """Read at once: something may have been missed."""
        self._pauses = chain(READ_AGAIN_AFTER, repeat(READ_AGAIN_EVERY))
        self._due = _now()
        self._stirred.set()

    def learn(self, stage: int, fact: Fact) -> None:
        """Take note of a fact, however it became known. What comes after the end is ignored."""
        if stage <= self._places[-1].stage:
            self._known[stage] = fact
            self._stirred.set()

    def begin(self, opening: Fact, *, repeated: bool) -> None:
        """Take note of the command. If it began under our eyes there is nothing to read yet."""
        self.learn(0, opening)
        if not repeated:
            self._due = _now() + next(self._pauses)

    def _next(self) -> Fact | None:
        """Return the next stage's fact, if it is known; those told before are stepped over."""
        while (fact := self._known.get(self._stage)) is not None:
            self._stage += 1
            self.reached = fact
            if fact.sequence > self._after:
                return fact
        return None

    async def _wait_or_read(self) -> None:
        self._stirred.clear()
        left = self._due - _now()
        with suppress(TimeoutError):
            if left > 0:
                async with asyncio.timeout(left):
                    await self._stirred.wait()
            else:
                self._due = _now() + next(self._pauses)
                async with asyncio.timeout(READ_WITHIN):
                    await self._read()

    async def _read(self) -> None:
        missing = [place for place in self._places if place.stage not in self._known]
        await asyncio.gather(*map(self._read_one, missing))

    async def _read_one(self, place: Place) -> None:
        # The broker is away, or a replica has not heard of it yet: neither says that it is not so.
        with suppress(BrokerUnavailable):
            if (fact := await self._look(place)) is not None:
                self.learn(place.stage, fact)


class Flow:
    """The conversations that a command opens. Enter its context to follow them.

    `follow` names what comes after the command, in the order in which it comes. Outcomes that
    exclude each other stand side by side.
    """

    def __init__(
        self, broker: Broker, command: type[Message], *, follow: Sequence[type[Message]]
    ) -> None:
        self._broker = broker
        self._places = tuple(_places(command, follow))
        self._by_subject = {place.address.subject: place for place in self._places}
        self._watches: dict[str, set[Watch]] = {}
        self._following = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for place in self._places[1:]:
                every, tell, lost = place.address.every_key, self._tell, self._lost
                await stack.enter_async_context(self._broker.follow(every, tell, lost))
            self._following = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.aclose()

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return sum(map(len, self._watches.values()))

    async def open(self, opening: Envelope[Message], watch: Watch | None = None) -> Fact:
        """Open a conversation; when this returns, its command is stored for good.

        Opening it again with the same content is the same conversation and the same answer. A
        `watch` of this key, begun before, then knows that it is there and saves some reading.
        Raises KeyReused if the content differs, BrokerUnavailable (it may be stored: try again)
        and StreamFull.
        """
        fact, repeated = await counted(opening, self._store(opening))
        crash_here("G3")
        if watch is not None:
            watch.begin(fact, repeated=repeated)
        return fact

    @contextmanager
    def watch(
        self, key: str, *, after: int = 0, until: type[Message] | None = None
    ) -> Iterator[Watch]:
        """Watch a conversation: what is there already after a sequence, then what follows.

        It ends after a fact of the type `until`, or of one that excludes it; by default with
        the last that is followed. It waits for a conversation that does not exist yet, too.
        """
        # It is known before it reads, so that nothing falls between reading and following.
        watch = Watch(lambda place: self._look(place, key), self._places_until(until), after)
        self._watches.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    async def story(self, key: str) -> Sequence[Fact]:
        """Return the facts so far, in order. What is missing may only not be visible yet.

        Raises BrokerUnavailable.
        """
        looks = [self._look(place, key) for place in self._places]
        facts = [fact for fact in await asyncio.gather(*looks) if fact is not None]
        return sorted(facts, key=lambda fact: fact.sequence)

    async def _store(self, opening: Envelope[Message]) -> tuple[Fact, bool]:
        with tracing.opening(opening) as traced:
            posting = traced.posting()
            crash_here("G1")
            answer = (await self._broker.publish([posting]))[0]
        # Nothing has left us since: to everybody else the answer might still be on its way.
        crash_here("G2")
        place = self._places[0]
        match answer:
            case Receipt(repeated=repeated):
                return _fact(place, await self._read_back(posting)), repeated
            case Conflict(stored):
                fact = _readable(place, stored)
                if fact is None or not _same(opening.body, fact.body):
                    raise KeyReused(f"{posting.subject} is stored with other content")
                return fact, True

    async def _read_back(self, posting: Posting) -> Stored:
        for pause in READ_BACK_AFTER:
            await asyncio.sleep(pause)
            stored = await self._broker.read(posting.stream, posting.subject)
            if stored is not None:
                return stored
        raise BrokerUnavailable(f"{posting.subject} is stored, but no replica shows it yet")

    async def _look(self, place: Place, key: str) -> Fact | None:
        address = place.address
        stored = await self._broker.read(address.stream.name, address.subject_for(key))
        return None if stored is None else _readable(place, stored)

    def _places_until(self, until: type[Message] | None) -> Sequence[Place]:
        if until is None:
            return self._places
        last = self._by_subject[address_of(until).subject].stage
        return [place for place in self._places if place.stage <= last]

    def _tell(self, stored: Stored) -> None:
        subject, _, key = stored.subject.rpartition(".")
        watches, place = self._watches.get(key), self._by_subject.get(subject)
        if watches and place is not None and (fact := _readable(place, stored)) is not None:
            for watch in watches:
                watch.learn(place.stage, fact)

    def _lost(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.hurry()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _places(command: type[Message], follow: Sequence[type[Message]]) -> Iterator[Place]:
    stage, before = 0, address_of(command)
    if not before.stream.once_per_key:
        raise ContractError(f"{before.message}: a stream that is not once_per_key has no flows")
    yield Place(stage, command, before)
    for message in follow:
        address = address_of(message)
        stage += before.subject not in address.rivals
        yield Place(stage, message, address)
        before = address


def _fact(place: Place, stored: Stored) -> Fact:
    return Fact(place.message.FromString(stored.data), stored.sequence, stored.at)


def _readable(place: Place, stored: Stored) -> Fact | None:
    try:
        return _fact(place, stored)
    except DecodeError:
        log.warning("undecodable, so nobody is told", sequence=stored.sequence)
        return None


def _same(one: Message, other: Message) -> bool:
    """Whether two messages agree in all fields that we know. Protobuf bytes are not canonical."""
    copies = []
    for message in (one, other):
        copy = type(message)()
        copy.CopyFrom(message)
        copy.DiscardUnknownFields()
        copies.append(copy)
    return bool(copies[0] == copies[1])
