"""Which messages may be tried beside others, and which are tried alone, because a process died.

What is begun for the second time is put on record before. If the process dies then, all that it
had on record is suspect; only one of them is to blame, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seaway.broker import Delivery
from seaway.dead_letters import id_of
from seaway.inbox import Trials

MOST_KILLS = 5
"""A message that kills its process more often than this is a dead letter."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A delivery of a message that may be the death of its process."""

    delivery: Delivery
    kills: int = 0
    """Processes that died of it. The first may have died of another."""


def split(
    deliveries: Sequence[Delivery], until: int
) -> tuple[Sequence[Delivery], Sequence[Delivery]]:
    """Return what comes up to this attempt, and what comes after it."""
    first = [delivery for delivery in deliveries if delivery.attempt <= until]
    return first, [delivery for delivery in deliveries if delivery.attempt > until]


def told_apart(
    deliveries: Sequence[Delivery], trouble: Mapping[str, Trials]
) -> tuple[Sequence[Delivery], Sequence[Suspect]]:
    """Return those that are not suspect, and those that are; of each the worst come last.

    One that has killed often enough is no suspect: it is not tried any more, only set aside.
    """
    known = [(trouble.get(id_of(each), Trials()), each) for each in deliveries]
    known.sort(key=lambda each: (each[0].kills, each[0].failures))
    suspects = [Suspect(each, t.kills) for t, each in known if 0 < t.kills <= MOST_KILLS]
    return [each for t, each in known if not 0 < t.kills <= MOST_KILLS], suspects
