"""What a program says to the broker, overheard: about deliveries, and to everybody."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from seaway.jetstream import JetStream

ACK, NAK, TERM, IN_PROGRESS = "+ACK", "-NAK", "+TERM", "+WPI"
ABOUT = re.compile(
    r"\$JS\.ACK\.(?:.+\.)?(?P<attempt>\d+)\.(?P<place>\d+)\.(?P<number>\d+)\.\d+\.\d+$"
)


@dataclass(frozen=True, slots=True)
class Word:
    """What the program told the broker about one delivery."""

    sequence: int
    """The message's place in the stream."""
    attempt: int
    number: int
    """Of the delivery, among all of the durable's."""
    said: str
    """One of the four, or what else it was."""
    delay: float
    """Seconds that a nak asks for."""
    at: float

    @property
    def settles(self) -> bool:
        """Whether the delivery is over with it."""
        return self.said != IN_PROGRESS


@dataclass(frozen=True, slots=True)
class Said:
    """A message that the program published."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    reply: str
    """Where it waits for the receipt; empty if it does not."""
    at: float


@dataclass(slots=True)
class Tap:
    """Everything that was overheard, in order."""

    broker: JetStream
    """Our own connection: what we say ourselves is not noted."""
    words: list[Word] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    hold: Callable[[Said], Awaitable[None]] | None = None
    """Who answers what is said, while no stream does."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: list[Any] = field(default_factory=list)

    async def listen(self, subjects: Sequence[str]) -> None:
        """Overhear what is said about deliveries and on these subjects, from now on."""
        for subject in ("$JS.ACK.>", *subjects):
            listening = await self.broker.connection.subscribe(subject, self.heard)
            self._listening.append(listening)
        await self.broker.connection.heard_so_far()

    async def caught_up(self) -> None:
        """Return when all is noted that was said so far.

        The broker tells us in order, but each subject comes its own way from there.
        """
        await self.broker.connection.heard_so_far()
        await self.until(lambda: not any(each.pending_msgs for each in self._listening), 5.0)
        await asyncio.sleep(0)

    async def until(self, holds: Callable[[], bool], within: float) -> bool:
        """Return whether it came to hold within so many seconds; look again at each word."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not holds():
                    self._stirred.clear()
                    await self._stirred.wait()
        return holds()

    def stir(self) -> None:
        """Have whoever waits look again."""
        self._stirred.set()

    def about(self, sequence: int, *, settling: bool = False) -> Iterator[Word]:
        """Yield what was said about a message; with `settling` only what ended a delivery."""
        return (w for w in self.words if w.sequence == sequence and (w.settles or not settling))

    async def heard(self, message: Any) -> None:
        """Note one message."""
        at = time.monotonic()
        if about := ABOUT.match(message.subject):
            said, _, options = message.data.decode(errors="replace").partition(" ")
            place = (int(about["place"]), int(about["attempt"]), int(about["number"]))
            self.words.append(Word(*place, said or ACK, delay_of(said, options), at))
        elif not self._is_ours(message):
            headers = message.headers or {}
            said_now = Said(message.subject, message.data, headers, message.reply, at)
            self.said.append(said_now)
            if self.hold is not None:
                await self.hold(said_now)
        self.stir()

    def _is_ours(self, message: Any) -> bool:
        return bool(message.reply.startswith(f"_INBOX_{self.broker.connection.name}."))


def delay_of(said: str, options: str) -> float:
    """Return the seconds that a nak asks for; 0 if it asks for none."""
    try:
        return json.loads(options)["delay"] / 1e9 if said == NAK else 0.0
    except (ValueError, KeyError, TypeError):
        return 0.0
