"""One durable's books: what it was given, what its service recorded, what was set aside."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Self
from uuid import UUID

from seaway.audit.difference import Difference, Kind
from seaway.audit.told import DurableTold
from seaway.broker import Headers, Stored
from seaway.dead_letters import Discarded, Letter
from seaway.topology.backbone import Durable
from seaway.topology.rules import covers, filters


class Identity(NamedTuple):
    """What makes two messages the same, wherever they stand: a redrive is its original."""

    id: str
    sha256: bytes

    @classmethod
    def of(cls, headers: Headers, data: bytes) -> Self:
        """Return the identity of a message; one without a proper id is known by its body."""
        return cls.named(headers, hashlib.sha256(data).digest())

    @classmethod
    def named(cls, headers: Headers, sha256: bytes) -> Self:
        """Return the identity of a message of whose body only the hash is known."""
        try:
            return cls(str(UUID(headers.get("ce-id", ""))), sha256)
        except ValueError:
            return cls(f"sha256-{sha256.hex()}", sha256)


class Item(NamedTuple):
    """A message as the books know it."""

    sequence: int
    identity: Identity


class Status(Enum):
    """What became of a message that a durable listens to."""

    NOT_OWED = auto()
    PENDING = auto()
    HANDLED = auto()
    SET_ASIDE = auto()
    WRONG = auto()


@dataclass(slots=True)
class DurableAccount:
    """Takes in the messages of a stream, in order; then says what does not match."""

    stream: str
    name: str
    found: Durable
    told: DurableTold
    set_aside: frozenset[Identity]
    unseen: set[str] = field(init=False)
    """Ids of records whose message was not seen yet."""
    open: dict[Identity, int] = field(default_factory=dict)
    """Messages that no record matches: the last place of each."""
    forgotten: set[str] = field(default_factory=set)
    """Ids of messages that were handled, and of which nothing is kept on purpose."""
    first_recorded: int | None = field(init=False)
    """The first place of which there is a record: there it was there, whenever it was made."""

    def __post_init__(self) -> None:
        """Begin with every record unmatched, but for those that are to be forgotten."""
        records = self.told.records
        self.unseen = {id for id, record in records.items() if not record.forgotten}
        self.first_recorded = min((record.sequence for record in records.values()), default=None)

    def listens_to(self, subject: str) -> bool:
        """Whether messages on this subject are given to it."""
        return any(covers(pattern, subject) for pattern in filters(self.found.config))

    def take(self, stored: Stored, identity: Identity) -> None:
        """Take in a message on one of its subjects."""
        record = self.told.records.get(identity.id)
        if record is not None:
            self.unseen.discard(identity.id)
            if record.forgotten:
                self.forgotten.add(identity.id)
        matched = record is not None and (record.forgotten or record.sha256 == identity.sha256)
        if not matched and self._owes(stored) and (self.told.is_kept or self._waits(stored)):
            self.open[identity] = stored.sequence

    def status(self, item: Item) -> Status:
        """Return what became of a message that it was given."""
        if item.identity in self.set_aside:
            return Status.SET_ASIDE
        last = self.open.get(item.identity)
        if last is not None:
            return Status.PENDING if last > self.found.ack_floor else Status.WRONG
        if item.sequence > self.found.ack_floor:
            return Status.PENDING  # recorded, and its reply may be on its way
        known = item.identity.id in self.told.records or not self.told.is_kept
        return Status.HANDLED if known else Status.NOT_OWED

    @property
    def pending(self) -> int:
        """How many messages are neither settled nor recorded nor set aside."""
        floor = self.found.ack_floor
        return sum(
            last > floor and identity not in self.set_aside for identity, last in self.open.items()
        )

    def differences(self, kept_from: int) -> Iterator[Difference]:
        """Yield what does not match. Messages before `kept_from` were not read, or have gone."""
        for identity, last in self.open.items():
            if identity not in self.set_aside and last <= self.found.ack_floor:
                yield self._unmatched(identity, last)
        for id in self.unseen:
            sequence = self.told.records[id].sequence
            if sequence >= kept_from:
                text = f"has handled {id} at #{sequence}, and the stream has no such message"
                yield self._difference(Kind.UNEXPECTED, id, sequence, text)

    def _unmatched(self, identity: Identity, sequence: int) -> Difference:
        id = identity.id
        if id in self.told.records:
            text = f"has handled {id} with another body than #{sequence} has"
            return self._difference(Kind.CHANGED_BODY, id, sequence, text)
        is_older = sequence < (self.found.config.get("opt_start_seq") or 0)
        did = "was made anew after" if is_older else "was done with"
        text = f"{did} #{sequence} ({id}), which is neither recorded nor set aside"
        return self._difference(Kind.LOST, id, sequence, text)

    def _difference(self, kind: Kind, id: str, sequence: int, text: str) -> Difference:
        return Difference(kind, self.stream, self.name, id, sequence, f"{self.name} {text}")

    def _owes(self, stored: Stored) -> bool:
        """Whether it has to handle a message; one that starts at "now" owes nothing older.

        One that was made anew says a later start than it had: its service's record counts, too.
        """
        if self.told.start == "beginning":
            return True
        if self.first_recorded is not None and stored.sequence >= self.first_recorded:
            return True
        start = self.found.config.get("opt_start_seq") or 0
        return stored.sequence >= start if start else stored.at > self.found.created

    def _waits(self, stored: Stored) -> bool:
        return stored.sequence > self.found.ack_floor


def identities(
    letters: Iterable[Letter], thrown_away: Iterable[Discarded]
) -> Mapping[str, frozenset[Identity]]:
    """Return, by durable, what was set aside, and what a person has thrown away since."""
    by_durable: dict[str, set[Identity]] = defaultdict(set)
    for letter in letters:
        by_durable[letter.durable].add(Identity.of(letter.headers, letter.data))
    for note in thrown_away:
        by_durable[note.durable].add(Identity.named(note.headers, note.sha256))
    return {durable: frozenset(found) for durable, found in by_durable.items()}
