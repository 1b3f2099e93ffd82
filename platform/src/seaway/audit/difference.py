"""What an audit finds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from seaway.dead_letters import Letter


class Kind(StrEnum):
    """Everything that can be wrong."""

    LOST = "lost delivery"
    """Settled by the broker, and neither recorded by the service nor set aside."""
    UNEXPECTED = "record without message"
    CHANGED_BODY = "changed body"
    """The service has recorded the same id with another body."""
    NO_OUTCOME = "request without outcome"
    NO_REQUEST = "outcome without request"
    TWO_OUTCOMES = "two outcomes"
    ROW_MISSING = "row missing"
    NO_EVENT = "row without event"
    SECOND_ROW = "second row"
    CHANGED_ROW = "changed field"
    NO_SERVICE = "durable without service"
    NO_DURABLE = "service without durable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not add up. Holds no personal data."""

    kind: Kind
    stream: str
    durable: str
    """The durable, or for rows the service, that has to answer for it."""
    key: str
    """The id of the message, or the key of the conversation or the row."""
    sequence: int
    """Its place in the stream; 0 if it has none."""
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"difference": str(self.kind)} | {
            name: value for name, value in asdict(self).items() if name != "kind"
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an audit."""

    differences: tuple[Difference, ...] = ()
    letters: tuple[Letter, ...] = ()
    """Dead letters that wait for a person: accounted for, and not settled."""
    accepted: int = 0
    """Commands that the streams keep."""
    outcomes: int = 0
    """Events that answer a command."""
    messages: int = 0
    """Messages that were read."""
    pending: Mapping[str, int] = field(default_factory=dict)
    """Messages that a durable has not settled yet, by durable."""
    forgotten: Mapping[str, int] = field(default_factory=dict)
    """Messages, and rows, of which nothing is kept on purpose: by durable, or service for rows."""
    unrecorded: tuple[str, ...] = ()
    """Durables whose service keeps no record: what they lose cannot be seen."""

    @property
    def is_clean(self) -> bool:
        """Whether everything that is settled is accounted for."""
        return not self.differences

    @property
    def unaccounted(self) -> Counter[str]:
        """How many differences each durable or service has to answer for."""
        return Counter(difference.durable for difference in self.differences)

    def summary(self) -> str:
        """Return all counts as one line."""
        counts = {
            "accepted": self.accepted,
            "outcomes": self.outcomes,
            "dead letters": len(self.letters),
            "pending": sum(self.pending.values()),
            "unaccounted": len(self.differences),
        }
        if self.forgotten:
            counts["forgotten"] = sum(self.forgotten.values())
        return "  ".join(f"{name} {count:,}" for name, count in counts.items())


def together(reports: Sequence[Report]) -> Report:
    """Return the reports of several streams as one."""
    return Report(
        differences=tuple(d for report in reports for d in report.differences),
        letters=tuple(letter for report in reports for letter in report.letters),
        accepted=sum(report.accepted for report in reports),
        outcomes=sum(report.outcomes for report in reports),
        messages=sum(report.messages for report in reports),
        pending={name: n for report in reports for name, n in report.pending.items()},
        forgotten={name: n for report in reports for name, n in report.forgotten.items()},
        unrecorded=tuple(name for report in reports for name in report.unrecorded),
    )
