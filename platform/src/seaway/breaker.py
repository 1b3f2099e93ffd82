"""When to stop fetching, when to try one message, when to go on.

A dependency that is away is nobody's poison: while it lasts nothing is fetched, attempts do not
count and nothing is dead-lettered (docs/decisions/0007).
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

PAUSES = (1.0, 2.0, 4.0, 5.0)
"""Seconds before each probe; the last one repeats."""
WINDOW = 30.0
ENOUGH = 10


@dataclass(slots=True)
class Breaker:
    """Open while a dependency is away. Pure but for its clock, which counts seconds."""

    clock: Callable[[], float] = time.monotonic
    pauses: tuple[float, ...] = PAUSES
    _probes: int = 0
    _probe_at: float | None = None
    """None: closed."""
    _results: deque[tuple[float, bool]] = field(default_factory=deque)

    @property
    def is_open(self) -> bool:
        """Whether a dependency is away, as far as we know."""
        return self._probe_at is not None

    def pause(self) -> float:
        """Return how many seconds to wait before the next fetch; 0 while closed."""
        return max(0.0, self._probe_at - self.clock()) if self._probe_at is not None else 0.0

    def succeeded(self) -> None:
        """Take note that something was handled: whatever was away is back."""
        self._probe_at, self._probes = None, 0
        self._note(fine=True)

    def idle(self) -> None:
        """Take note that a probe found nothing to try: nobody waits for us, so close.

        If the dependency is still away the next message will say so, and that costs it nothing.
        """
        if self.pause() == 0:
            self._probe_at = None

    def down(self) -> None:
        """Take note that a dependency is away: open, or wait longer after a probe that failed."""
        if self._probe_at is None:
            self._probes = 0
        elif self.pause() > 0:
            # It was in hand when we opened: it says nothing new.
            return
        self._probe_at = self.clock() + self.pauses[min(self._probes, len(self.pauses) - 1)]
        self._probes += 1
        self._results.clear()

    def failed(self) -> None:
        """Take note of a failure that may pass. Many of them at once are a dependency, too."""
        self._note(fine=False)
        failures = sum(not fine for _, fine in self._results)
        if self.is_open or (len(self._results) >= ENOUGH and failures * 2 >= len(self._results)):
            self.down()

    def _note(self, *, fine: bool) -> None:
        now = self.clock()
        self._results.append((now, fine))
        while now - self._results[0][0] > WINDOW:
            self._results.popleft()
