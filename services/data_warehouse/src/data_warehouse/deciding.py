"""Which of a batch's messages have no row yet. Pure: `table` asks, and carries it out.

The table remembers the highest place of the stream of which it has a row. What lies above it is
new, at the price of one comparison. A message at or below it, or one that may have been kept
under another place, is looked for by its id. So nothing depends on the order in which messages
come, and a message that comes late is not taken for one that came twice (docs/decisions/0011).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from seaway.errors import Unprocessable

from data_warehouse.entries import Entry

CLOCKS = timedelta(hours=1)
"""How far the clocks of a service and the broker may be apart."""
SAID_AGAIN = timedelta(seconds=10)
"""A message stored so much later than it was said may be a redrive, or a restored one."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Messages that may have a row."""

    by_place: Sequence[Entry]
    """If they have one, it bears their own place in the stream or, redriven, a later one."""
    by_id: Sequence[Entry]
    """If they have one, it may bear any."""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What nothing is to be kept of."""

    owners: Set[str]
    """The ids of requests and of users."""
    messages: Set[str]
    """The ids of those messages of which it is known that they were handled."""


def doubts(entries: Sequence[Entry], watermark: int, created: datetime) -> Doubts:
    """Return what has to be looked for, given the table's watermark and the stream's birth."""
    elsewhere = [entry for entry in entries if _may_be_elsewhere(entry, created)]
    here = [
        entry
        for entry in entries
        if entry.sequence <= watermark and not _may_be_elsewhere(entry, created)
    ]
    return Doubts(by_place=here, by_id=elsewhere)


def missing(
    entries: Sequence[Entry], present: Mapping[str, str], forgotten: Set[str]
) -> list[Entry]:
    """Return those that need a row: not `present`, of nobody `forgotten`, each id once.

    In the order of the stream. `present` says by id which body has a row, by its hash;
    `forgotten` holds ids of requests and of users. Raises Unprocessable if an id stands for two
    bodies.
    """
    new: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        known = present.get(entry.event_id)
        if known is None and not owners(entry) & forgotten:
            known = new.setdefault(entry.event_id, entry).sha256
        if known not in (None, entry.sha256):
            raise Unprocessable("ID_REUSED")
    return list(new.values())


def dropped(entries: Sequence[Entry], tombstones: Tombstones) -> list[Entry]:
    """Return those that are somebody's who is forgotten and have no tombstone, each id once."""
    new = {
        entry.event_id: entry
        for entry in entries
        if owners(entry) & tombstones.owners and entry.event_id not in tombstones.messages
    }
    return list(new.values())


def owners(entry: Entry) -> Set[str]:
    """Return the ids under which somebody may have asked to be forgotten."""
    return {entry.fields.get("request_id", ""), entry.fields.get("user_id", "")} - {""}


def _may_be_elsewhere(entry: Entry, created: datetime) -> bool:
    before_the_stream = entry.occurred_at < created + CLOCKS
    return before_the_stream or entry.stored_at - entry.occurred_at > SAID_AGAIN
