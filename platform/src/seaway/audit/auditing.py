"""Asking everybody, in the order that makes the answer right while messages flow."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Protocol

from seaway.audit.difference import Report, together
from seaway.audit.reconciling import Reconciliation, Scene
from seaway.audit.rows import CLOCKS
from seaway.audit.telling import EVER, Question
from seaway.audit.told import Told
from seaway.broker import Stored
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD, Discarded, Letter, discarded, letters
from seaway.errors import BrokerUnavailable
from seaway.topology.backbone import Durable, FoundStream

AT_ONCE = 50
LOOK_EVERY = 0.1
PAUSE_AFTER = 500
"""Messages after which others of this event loop get their turn."""

type Ask = Callable[[Question], Awaitable[Sequence[Told]]]
"""Asks every service. Raises Unaskable."""
type Progress = Callable[[int], None]
"""Is told how many messages were read, now and then."""


class Ledgers(Protocol):
    """What an audit reads of the broker. Each raises BrokerUnavailable."""

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name."""

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name."""

    def scan(self, stream: str, subjects: str, after: int = 0) -> AsyncIterator[Stored]:
        """Yield what a stream keeps, in order, up to now."""

    async def place_at(self, stream: str, moment: datetime) -> int | None:
        """Return the place of the first message stored at a moment or later; None: none is."""

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first message on `subjects` after a place; None: there is none."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of one stream."""

    ledgers: Ledgers
    ask: Ask
    stream: str
    progress: Progress

    async def run(self, since: datetime | None) -> Report:
        """Compare, from a moment on or everything that the stream keeps."""
        report = await self._compared(since, thorough=since is None)
        if since is not None and not report.is_clean:
            # A message may have been handled under an earlier place, before it was redriven.
            return await self._compared(since, thorough=True)
        return report

    async def _compared(self, since: datetime | None, *, thorough: bool) -> Report:
        reconciliation = Reconciliation(await self._scene(since, thorough=thorough))
        after = reconciliation.kept_from - 1
        async for stored in self.ledgers.scan(self.stream, ">", after):
            reconciliation.take(stored)
            if reconciliation.messages % PAUSE_AFTER == 0:
                self.progress(reconciliation.messages)
                await asyncio.sleep(0)
        reconciliation.also_aside(*await self._aside())
        reconciliation.has_gone_before((await self.ledgers.streams())[self.stream].first)
        return reconciliation.report(await self._stored(reconciliation.doubtful()))

    async def _scene(self, since: datetime | None, *, thorough: bool) -> Scene:
        """Look at letters, then durables, then ask the services: see `reconciling`."""
        waiting, thrown_away = await self._aside()
        durables = await self.ledgers.durables(self.stream)
        found = (await self.ledgers.streams())[self.stream]
        kept_from, rows_since = found.first, found.oldest if found.first > 1 else None
        if since is not None:
            place = await self.ledgers.place_at(self.stream, since)
            kept_from = max(found.first, found.last + 1 if place is None else place)
            rows_since = since
        rows_from = EVER if thorough or rows_since is None else rows_since - CLOCKS
        told = await self.ask(Question(self.stream, 1 if thorough else kept_from, since=rows_from))
        return Scene(
            stream=self.stream,
            types=installed_types(),
            durables=durables,
            told=told,
            letters=waiting,
            thrown_away=thrown_away,
            until=found.last,
            kept_from=kept_from,
            rows_since=rows_since,
        )

    async def _aside(self) -> tuple[list[Letter], list[Discarded]]:
        """Return what waits for a person, and what one has thrown away."""
        if DEAD.name not in await self.ledgers.streams():
            return [], []
        waiting = [letter async for letter in letters(self.ledgers)]
        return waiting, [note async for note in discarded(self.ledgers)]

    async def _stored(self, subjects: set[str]) -> set[str]:
        """Return those on which a message is stored."""
        found: set[str] = set()
        for some in batched(subjects, AT_ONCE):
            answers = await asyncio.gather(
                *(self.ledgers.next_after(self.stream, s, 0) for s in some)
            )
            found |= {s for s, stored in zip(some, answers, strict=True) if stored is not None}
        return found


async def audited(
    ledgers: Ledgers,
    ask: Ask,
    since: datetime | None = None,
    progress: Progress = lambda messages: None,
) -> Report:
    """Return what does not add up in the streams of the installed contracts.

    Messages that nobody has settled yet are counted, and are no difference: it may be called
    while everything runs. It holds a few hundred bytes for each message that a durable has
    handled and each row. Raises BrokerUnavailable, and Unaskable if a service does not answer.
    """
    ours = {address_of(type_).stream.name for type_ in installed_types().values()}
    streams = sorted(ours & (await ledgers.streams()).keys())
    return together([await Audit(ledgers, ask, s, progress).run(since) for s in streams])


async def settled(ledgers: Ledgers, within: float) -> bool:
    """Wait until every durable has settled everything; return whether that came to be in time.

    A broker that does not answer, as while brokers elect one of them, has the same time.
    Raises BrokerUnavailable if it did not answer at the end of it.
    """
    give_up = time.monotonic() + within
    while True:
        try:
            if not await _left(ledgers):
                return True
        except BrokerUnavailable:
            if time.monotonic() > give_up:
                raise
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(LOOK_EVERY)


async def _left(ledgers: Ledgers) -> int:
    """Return how many messages no durable has settled yet."""
    ours = {address_of(type_).stream.name for type_ in installed_types().values()}
    left = 0
    for stream in ours & (await ledgers.streams()).keys():
        durables = (await ledgers.durables(stream)).values()
        left += sum(durable.pending + durable.ack_pending for durable in durables)
    return left
