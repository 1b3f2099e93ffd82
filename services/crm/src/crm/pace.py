"""How often we may call: never more than the CRM's limit in any ten seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from seaway.errors import DependencyDown

WINDOW = 10.0
"""Seconds to which the limit applies, whenever they begin."""
BURST = 10
"""One part in so many of the limit may be used at once; the rest is spread over the window."""


@dataclass(slots=True)
class Pace:
    """A token bucket, and a pause if the CRM asks for one."""

    limit: int
    """Calls in any ten seconds, at least two."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _tokens: float = field(init=False)
    _as_of: float = field(init=False)
    _paused_until: float = 0.0

    def __post_init__(self) -> None:
        """Begin with a full bucket."""
        self._tokens, self._as_of = float(self._burst), self.clock()

    @property
    def _burst(self) -> int:
        return max(1, self.limit // BURST)

    @property
    def _per_second(self) -> float:
        # What is in the bucket at the beginning of a window can be used on top of this.
        return (self.limit - self._burst) / WINDOW

    async def turn(self, patience: float) -> None:
        """Return when we may call.

        Raises DependencyDown, at once, if that is not within so many seconds.
        """
        wait = self._reserved(patience)
        while wait > 0:
            await self.sleep(wait)
            wait = self._paused_until - self.clock()  # somebody else may have been told to wait

    def pause(self, seconds: float) -> None:
        """Call nobody for so long."""
        self._paused_until = max(self._paused_until, self.clock() + seconds)

    def _reserved(self, patience: float) -> float:
        """Take a token, if need be one that is not there yet; return when it is, in seconds."""
        now = self.clock()
        filled = self._tokens + (now - self._as_of) * self._per_second
        self._tokens, self._as_of = min(float(self._burst), filled), now
        missing = max(0.0, 1 - self._tokens)
        wait = max(missing / self._per_second, self._paused_until - now)
        if wait > patience:
            raise DependencyDown(f"the CRM wants no call for another {wait:.0f} s")
        self._tokens -= 1
        return wait
