"""How long requests wait to be begun, from a few looks at the durable that hands them over.

No message is read for that: what a durable has delivered, and what it has not yet, is enough. One
that was begun and fails again and again is not waited behind, so it does not count.
"""

from collections import deque
from dataclasses import dataclass

from seaway.topology import Durable

LOOKS = 1800
"""An hour of them, every two seconds; nobody needs to know more exactly how old it is then."""
UNKNOWN = 30.0
SHORTEST, LONGEST = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the durable once."""

    at: float
    waiting: int
    """Messages that were never delivered."""
    deliveries: int
    """How often it has delivered one, each time counted."""
    delivered: int
    """The last place that was delivered for the first time."""

    def still_waits(self, now: "Look") -> bool:
        """Whether some message that waited then must still wait, whatever happened between."""
        fewer = now.deliveries - self.deliveries < self.waiting
        return fewer or now.delivered == self.delivered


class Backlog:
    """The requests that wait, as far as this process has seen them wait."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._last = Look(0.0, 0, 0, 0)

    @property
    def age(self) -> float:
        """For how many seconds the oldest one has been seen to wait, at least."""
        return self._last.at - self._looks[0].at if self._looks else 0.0

    @property
    def clears_in(self) -> float:
        """In how many seconds those that wait will have been begun, at the rate of late."""
        begun = self._last.deliveries - self._looks[0].deliveries if self._looks else 0
        if begun <= 0 or not self.age:
            return UNKNOWN
        return min(max(self._last.waiting * self.age / begun, SHORTEST), LONGEST)

    def note(self, durable: Durable, now: float) -> None:
        """Take note of the durable as it is now."""
        look = Look(now, durable.pending, durable.deliveries, durable.delivered)
        last = self._last
        wound_back = look.deliveries < last.deliveries or look.delivered < last.delivered
        if wound_back or not look.waiting:
            self._looks.clear()
        while self._looks and not self._looks[0].still_waits(look):
            self._looks.popleft()
        if look.waiting:
            self._looks.append(look)
        self._last = look
