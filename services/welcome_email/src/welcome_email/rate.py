"""Not faster than allowed."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class TokenBucket:
    """Lets so many through per second, and after a pause up to a second's worth at once."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._per_second = per_second
        self._clock, self._sleep = clock, sleep
        self._tokens, self._at = per_second, clock()

    async def take(self) -> None:
        """Return when it is our turn; those who ask first are let through first."""
        if not self._per_second:
            return
        now = self._clock()
        gained = (now - self._at) * self._per_second
        self._tokens = min(self._per_second, self._tokens + gained) - 1
        self._at = now
        if self._tokens < 0:
            await self._sleep(-self._tokens / self._per_second)
