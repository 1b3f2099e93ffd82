"""Requests and their outcomes: each request has one, each outcome answers one."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from seaway.audit.difference import Difference, Kind
from seaway.audit.durable_account import DurableAccount, Item, Status
from seaway.contract import Address

type Listeners = Callable[[str], Sequence[DurableAccount]]
"""Returns the accounts of the durables that are given messages on a subject."""


class Stray(NamedTuple):
    """An outcome whose request was not read."""

    sequence: int
    subject: str
    cause: str
    """The id of the request, as the outcome says."""


@dataclass(slots=True)
class Conversations:
    """The books of one command."""

    command: Address
    outcomes: Sequence[Address]
    listeners: Listeners
    accepted: int = 0
    answered: int = 0
    open: dict[str, Item] = field(default_factory=dict)
    """Requests without an outcome, by key."""
    closed: dict[str, str] = field(default_factory=dict)
    """The id of the outcome, by key."""
    strays: dict[str, Stray] = field(default_factory=dict)
    second: list[Difference] = field(default_factory=list)

    def request(self, key: str, item: Item) -> None:
        """Take in a command."""
        self.accepted += 1
        if key not in self.closed:
            self.open[key] = item

    def outcome(self, key: str, id: str, stray: Stray) -> None:
        """Take in an event that answers the command."""
        self.answered += 1
        if key in self.closed:
            if self.closed[key] != id:
                text = f"{key} has another outcome, #{stray.sequence} on {stray.subject}"
                self.second.append(self._difference(Kind.TWO_OUTCOMES, key, stray.sequence, text))
            return
        self.closed[key] = id
        if self.open.pop(key, None) is None:
            self.strays[key] = stray

    def explains(self, key: str) -> bool:
        """Whether the request accounts for a missing outcome: it is on its way, or is missed."""
        return key in self.open and Status.SET_ASIDE not in self._statuses(key)

    @property
    def unheard(self) -> int:
        """How many requests nobody listens to."""
        return sum(not self._owners(key) for key in self.open)

    def differences(self, earlier: Set[str], kept_from: int) -> Iterator[Difference]:
        """Yield what does not match. `earlier` are subjects with a message that was not read."""
        yield from self.second
        for key, item in self.open.items():
            if self._statuses(key) == {Status.HANDLED}:
                text = f"{self.command.message} #{item.sequence} ({key}) is settled and unanswered"
                yield self._difference(Kind.NO_OUTCOME, key, item.sequence, text)
        for key, stray in self.strays.items():
            subject = self.command.subject_for(key)
            if subject not in earlier and not self._was_there(subject, stray.cause, kept_from):
                text = f"#{stray.sequence} on {stray.subject} answers nothing that was asked"
                yield self._difference(Kind.NO_REQUEST, key, stray.sequence, text)

    def _statuses(self, key: str) -> set[Status]:
        return {account.status(self.open[key]) for account in self._owners(key)}

    def _owners(self, key: str) -> list[DurableAccount]:
        """Return who has to answer. Whoever is given the outcomes, too, only looks on."""
        answers = [outcome.subject_for(key) for outcome in self.outcomes]
        listeners = self.listeners(self.command.subject_for(key))
        return [a for a in listeners if not any(map(a.listens_to, answers))]

    def _was_there(self, subject: str, cause: str, kept_from: int) -> bool:
        """Whether the request was there, and has aged out or is missed at its record."""
        return any(
            cause in account.told.records or (kept_from > 1 and not account.told.is_kept)
            for account in self.listeners(subject)
        )

    def _difference(self, kind: Kind, key: str, sequence: int, text: str) -> Difference:
        accounts = self._owners(key)
        durable = accounts[0].name if accounts else ""
        return Difference(kind, self.command.stream.name, durable, key, sequence, text)
