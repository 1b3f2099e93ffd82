"""Rows that a service keeps, against the events that they stand for."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from seaway.audit.difference import Difference, Kind
from seaway.audit.durable_account import DurableAccount, Item, Status
from seaway.audit.told import RowTold
from seaway.contract import Address

CLOCKS = timedelta(seconds=60)
"""How far the clocks of a service and the broker may be apart."""


class Unwritten(NamedTuple):
    """An event without a row."""

    item: Item
    said_at: datetime


@dataclass(slots=True)
class RowsAccount:
    """The rows of one service that stand for one type of events."""

    service: str
    event: Address
    rows: dict[str, RowTold]
    """By key."""
    doubled: Set[str]
    """Keys of more than one row: which of them is right is for a person to say."""
    since: datetime | None
    """Rows and events before this were not asked for. None: there is nothing before."""
    accounts: Sequence[DurableAccount]
    """Of this service's durables that are given the events. None: the service causes them."""
    unseen: set[str] = field(init=False)
    unwritten: dict[str, Unwritten] = field(default_factory=dict)
    changed: list[Difference] = field(default_factory=list)
    forgotten: int = 0
    """How many rows are not there on purpose."""

    def __post_init__(self) -> None:
        """Begin with every row unmatched, but for those that may be older than what was read."""
        certain = None if self.since is None else self.since + CLOCKS
        self.unseen = {
            key
            for key, row in self.rows.items()
            if not row.forgotten and (certain is None or row.at >= certain)
        }

    def take(self, key: str, fields: bytes, item: Item, said_at: datetime) -> None:
        """Take in an event, by the hash of its fields."""
        row = self.rows.get(key)
        if row is None:
            self.unwritten[key] = Unwritten(item, said_at)
            return
        self.unseen.discard(key)
        if row.forgotten:
            self.forgotten += 1
        elif row.sha256 != fields and key not in self.doubled:
            text = f"{self.service}'s row {key} says something else than event #{item.sequence}"
            self.changed.append(self._difference(Kind.CHANGED_ROW, key, item.sequence, text))

    def differences(
        self, until: int, excused: Callable[[str], bool], earlier: Set[str]
    ) -> Iterator[Difference]:
        """Yield what does not match.

        Events after `until` were stored after the rows were read. `excused` says whether the
        event of a row is still to come, or missed elsewhere; `earlier` are subjects with a
        message that was not read.
        """
        yield from self.changed
        for key, (item, said_at) in self.unwritten.items():
            if self._is_due(item, until) and (self.since is None or said_at >= self.since):
                text = f"{self.service} has no row for event #{item.sequence} ({key})"
                yield self._difference(Kind.ROW_MISSING, key, item.sequence, text)
        for key in self.unseen:
            if not excused(key) and self.event.subject_for(key) not in earlier:
                text = f"{self.service} has row {key}, and no {self.event.message} tells of it"
                yield self._difference(Kind.NO_EVENT, key, 0, text)

    def _is_due(self, item: Item, until: int) -> bool:
        if self.accounts:
            return any(
                account.status(item) is Status.HANDLED
                and item.identity.id not in account.forgotten
                for account in self.accounts
            )
        return item.sequence <= until

    def _difference(self, kind: Kind, key: str, sequence: int, text: str) -> Difference:
        name = self.accounts[0].name if self.accounts else self.service
        return Difference(kind, self.event.stream.name, name, key, sequence, text)
