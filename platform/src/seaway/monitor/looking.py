"""One look at the broker: how far each durable is, and what is kept and set aside."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from seaway.broker import Stored
from seaway.dead_letters import DEAD, letter_subject
from seaway.topology import Durable, FoundStream
from seaway.topology.backbone import BEGINNING
from seaway.topology.rules import filters


class Watched(Protocol):
    """What the monitor asks of the broker. Each raises BrokerUnavailable."""

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name."""

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name."""

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first message on `subjects` after a place."""

    async def counts(self, stream: str, subjects: str) -> Mapping[str, int]:
        """Return how many messages each subject has."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """A durable, and what it has not settled."""

    durable: Durable
    last: int
    """The last place of its stream."""
    oldest: datetime | None = None
    """When the oldest message was stored that it has not settled. None: there is none."""

    @property
    def unsettled(self) -> int:
        """How many messages are stored and not settled."""
        return self.durable.pending + self.durable.ack_pending

    @property
    def lag(self) -> float:
        """How many seconds ago the oldest of them was stored, by the broker's own clock."""
        if self.oldest is None:
            return 0.0
        return max(0.0, (self.durable.seen_at - self.oldest).total_seconds())


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look has seen."""

    at: datetime = BEGINNING
    """When it began, by our clock: what was stored later may be missing."""
    streams: Mapping[str, FoundStream] = field(default_factory=dict)
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    """By durable."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """Dead letters that wait for a person, by durable."""

    @property
    def oldest(self) -> datetime | None:
        """When the oldest message was stored that some durable has not settled."""
        moments = [backlog.oldest for backlog in self.backlogs.values() if backlog.oldest]
        return min(moments, default=None)


async def look(broker: Watched, streams: Iterable[str], before: Sight) -> Sight:
    """Return what the broker has of some streams, and of the dead letters.

    One request for all streams, one for each stream's durables, one for the dead letters if
    there are others than `before`; and one for each filter of a durable that has something to do:
    nothing that grows with what is stored. Raises BrokerUnavailable.
    """
    at = datetime.now(UTC)
    found = await broker.streams()
    ours = {name: found[name] for name in (*streams, DEAD.name) if name in found}
    backlogs: dict[str, Backlog] = {}
    for name in ours.keys() - {DEAD.name}:
        durables = await broker.durables(name)
        seen = await asyncio.gather(*(_backlog(broker, name, d, ours) for d in durables.values()))
        backlogs |= dict(zip(durables, seen, strict=True))
    return Sight(at, ours, backlogs, await _letters(broker, ours.get(DEAD.name), before))


async def _backlog(
    broker: Watched, stream: str, durable: Durable, streams: Mapping[str, FoundStream]
) -> Backlog:
    last = streams[stream].last
    if not durable.pending + durable.ack_pending:
        return Backlog(durable, last)
    subjects = filters(durable.config) or [">"]
    asked = (broker.next_after(stream, each, durable.ack_floor) for each in subjects)
    # The floor is below the first that is not settled, so what comes after it is that one.
    found = [stored.at for stored in await asyncio.gather(*asked) if stored is not None]
    return Backlog(durable, last, min(found, default=None))


async def _letters(broker: Watched, dead: FoundStream | None, before: Sight) -> Mapping[str, int]:
    if dead is None:
        return {}
    known = before.streams.get(DEAD.name)
    if known is not None and _state(known) == _state(dead):
        return before.letters
    counted: Counter[str] = Counter()
    for subject, count in (await broker.counts(DEAD.name, letter_subject("*", "*"))).items():
        counted[subject.split(".")[1]] += count
    return counted


def _state(stream: FoundStream) -> tuple[datetime, int, int, int]:
    return (stream.created, stream.first, stream.last, stream.messages)
