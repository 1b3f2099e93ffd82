"""Watch: the facts of one conversation in their order, however they become known."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from typing import Self

import structlog
from google.protobuf.message import DecodeError, Message

from seaway.broker import Stored
from seaway.contract import Address
from seaway.errors import BrokerUnavailable
from seaway.failpoints import crash_here

log = structlog.get_logger("seaway.flow")

READ_AGAIN_AFTER = (0.1, 0.5, 2.0)
READ_FIRST_AFTER = 2.0
"""… by who followed a conversation before it began: what is told live cannot have come before."""
READ_AGAIN_EVERY = 5.0
READ_MISSING_AFTER = 0.02
"""… what comes before something that is known: it is stored, too, and nobody told of it."""
READ_WITHIN = 1.0


@dataclass(frozen=True, slots=True)
class Fact:
    """A message of a conversation, as the stream keeps it."""

    body: Message
    stage: int
    """Its place in the conversation, from 0: watching after it resumes there.

    Its place in the stream would tell outsiders how much else was said meanwhile.
    """
    at: datetime
    """When the broker stored it, by its clock; of the command, when it was said (`ce-time`).

    The broker's answer to a command has no time in it, and to read back each one for the sake of
    it cost a question more for each conversation.
    """


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
        self._pauses: Iterator[float] = chain(READ_AGAIN_AFTER, repeat(READ_AGAIN_EVERY))
        self._due = _now()
        self._stirred.set()

    def learn(self, fact: Fact) -> None:
        """Take note of a fact, however it became known. What comes after the end is ignored."""
        if fact.stage <= self._places[-1].stage:
            self._known[fact.stage] = fact
            if self._stage not in self._known:
                self._due = min(self._due, _now() + READ_MISSING_AFTER)
            self._stirred.set()

    def begin(self, opening: Fact, *, again: bool) -> None:
        """Take note of the command. If it began under our eyes there is nothing to read yet."""
        self.learn(opening)
        if not again:
            self._pauses = repeat(READ_AGAIN_EVERY)
            self._due = _now() + READ_FIRST_AFTER

    def _next(self) -> Fact | None:
        """Return the next stage's fact, if it is known; those told before are stepped over."""
        while (fact := self._known.get(self._stage)) is not None:
            self._stage += 1
            self.reached = fact
            if fact.stage > self._after:
                return fact
        return None

    async def _wait_or_read(self) -> None:
        self._stirred.clear()
        if self._due > _now():
            alarm = asyncio.get_running_loop().call_at(self._due, self._stirred.set)
            try:
                await self._stirred.wait()
            finally:
                alarm.cancel()
        else:
            self._due = _now() + next(self._pauses)
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_WITHIN):
                    await self._read()

    async def _read(self) -> None:
        # Each is stored after what it follows: beyond the first that is missing there is nothing
        # to find, and of those who watch most wait for one that is not there yet.
        for stage in range(self._stage, self._places[-1].stage + 1):
            if stage not in self._known:
                rivals = [place for place in self._places if place.stage == stage]
                await asyncio.gather(*map(self._read_one, rivals))
            if stage not in self._known:
                return

    async def _read_one(self, place: Place) -> None:
        # The broker is away, or a replica has not heard of it yet: neither says that it is not so.
        with suppress(BrokerUnavailable):
            if (fact := await self._look(place)) is not None:
                self.learn(fact)


def fact_of(place: Place, stored: Stored) -> Fact:
    """Return what was stored as a fact of its conversation. Raises DecodeError."""
    at = stored.at if place.stage else _said_at(stored)
    return Fact(place.message.FromString(stored.data), place.stage, at)


def _said_at(stored: Stored) -> datetime:
    # Whoever published without our library may have said it badly, or not at all.
    with suppress(KeyError, ValueError):
        at = datetime.fromisoformat(stored.headers["ce-time"])
        return at if at.tzinfo else stored.at
    return stored.at


def readable(place: Place, stored: Stored) -> Fact | None:
    """Return the same, or None for what nobody can read."""
    try:
        return fact_of(place, stored)
    except DecodeError:
        log.warning("undecodable, so nobody is told", sequence=stored.sequence)
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
