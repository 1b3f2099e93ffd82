"""Flow: one conversation as its opener sees it: opened, watched, resumed at any process.

A conversation is the messages that share a key. The broker keeps them; here is only who is
waiting for which, so a process that dies takes nothing with it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Self

from google.protobuf.message import Message

from seaway import tracing
from seaway.broker import Broker, Conflict, Posting, Receipt, Stored
from seaway.contract import address_of
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable, ContractError, KeyReused
from seaway.failpoints import crash_here
from seaway.telemetry import counted
from seaway.together import Together
from seaway.watching import Fact, Place, Watch, fact_of, readable

READ_BACK_AFTER = (0.0, 0.02, 0.1, 0.3)
"""Seconds before each attempt to see what was just stored: a replica may lag."""


class Flow:
    """The conversations that a command opens. Enter its context to follow them.

    `follow` names what comes after the command, in the order in which it comes. Outcomes that
    exclude each other stand side by side.
    """

    def __init__(
        self, broker: Broker, command: type[Message], *, follow: Sequence[type[Message]]
    ) -> None:
        self._broker = broker
        self._together = Together(broker)
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
        await self._together.close()
        await self._following.aclose()

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return sum(map(len, self._watches.values()))

    async def open(self, opening: Envelope[Message], watch: Watch | None = None) -> Fact:
        """Open a conversation; when this returns, its command is stored for good.

        Opening it again with the same content is the same conversation and the same answer. A
        `watch` of this key, begun before, then knows that it is there and saves some reading.
        Raises KeyReused if the content differs, and BrokerUnavailable and StreamFull (it may be
        stored all the same: try again).
        """
        fact, again = await counted(opening, self._store(opening))
        crash_here("G3")
        # Commands are told to nobody live, and a watch of this one may be open here already.
        for here in self._watches.get(self._places[0].address.key_of(opening.body), ()):
            here.learn(fact)
        if watch is not None:
            watch.begin(fact, again=again)
        return fact

    async def rejoin(self, command: Message, watch: Watch) -> bool:
        """Begin a watch of a conversation that was opened before; False if none is to be seen.

        Raises KeyReused if it was opened with other content, and BrokerUnavailable.
        """
        place = self._places[0]
        there = await self._look(place, place.address.key_of(command))
        if there is None:
            return False
        if not _same(command, there.body):
            raise KeyReused(f"{place.address.subject} of this key is stored with other content")
        watch.begin(there, again=True)
        return True

    @contextmanager
    def watch(
        self, key: str, *, after: int = -1, until: type[Message] | None = None
    ) -> Iterator[Watch]:
        """Watch a conversation: what is there already after a stage, then what follows.

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
        return sorted(facts, key=lambda fact: fact.stage)

    async def is_open(self, key: str) -> bool:
        """Return whether the command can be seen: the one question that costs the broker least.

        False may mean that it is not visible yet. Raises BrokerUnavailable.
        """
        return await self._look(self._places[0], key) is not None

    async def _store(self, opening: Envelope[Message]) -> tuple[Fact, bool]:
        with tracing.opening(opening) as traced:
            posting = traced.posting()
            crash_here("G1")
            answer = await self._together.publish(posting)
        # Nothing has left us since: to everybody else the answer might still be on its way.
        crash_here("G2")
        place = self._places[0]
        match answer:
            case Receipt(repeated=False):
                return Fact(opening.body, place.stage, opening.time), False
            case Receipt():
                return fact_of(place, await self._read_back(posting)), True
            case Conflict(stored):
                fact = readable(place, stored)
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
        return None if stored is None else readable(place, stored)

    def _places_until(self, until: type[Message] | None) -> Sequence[Place]:
        if until is None:
            return self._places
        last = self._by_subject[address_of(until).subject].stage
        return [place for place in self._places if place.stage <= last]

    def _tell(self, stored: Stored) -> None:
        subject, _, key = stored.subject.rpartition(".")
        watches, place = self._watches.get(key), self._by_subject.get(subject)
        if watches and place is not None and (fact := readable(place, stored)) is not None:
            for watch in watches:
                watch.learn(fact)

    def _lost(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.hurry()


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


def _same(one: Message, other: Message) -> bool:
    """Whether two messages agree in all fields that we know. Protobuf bytes are not canonical."""
    copies = []
    for message in (one, other):
        copy = type(message)()
        copy.CopyFrom(message)
        copy.DiscardUnknownFields()
        copies.append(copy)
    return bool(copies[0] == copies[1])
