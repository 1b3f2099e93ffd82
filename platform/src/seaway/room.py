"""Who may be in hand beside whom, in one process.

A message that ends its process ends it for all that the process has in hand, and nobody can tell
afterwards which of them it was. So a suspect is tried alone: if the process dies again, it is
guilty, and nobody else was there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Room:
    """What a process has in hand, of all its subscriptions: any number, or one suspect alone."""

    clock: Callable[[], float] = time.monotonic
    patience: float = 1.0
    """Seconds that a suspect waits for the others to finish; twice as long after each in vain."""
    _since: float = field(init=False)
    _others_until: float = field(init=False)
    """Until then nobody may be alone."""
    _inside: int = 0
    _suspects: int = 0
    """Who are alone, or wait for it."""
    _waits: float = field(init=False)
    """How long the next one waits for the others."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begin to count how long the process has worked."""
        self._since = self._others_until = self.clock()
        self._waits = self.patience

    def too_soon(self, pause: float) -> float:
        """Return how many seconds it is too soon to be alone; 0: it is not.

        A process works for `pause` seconds before it risks its life. And for as long as the last
        suspect had the room, or waited for it, the others have it next: they lose half of the
        time at most.
        """
        return max(0.0, max(self._since + pause, self._others_until) - self.clock())

    async def opened(self) -> None:
        """Return as soon as no suspect is alone or waits for it."""
        while self._suspects:
            await self._stirred.wait()

    @asynccontextmanager
    async def beside_others(self) -> AsyncIterator[None]:
        """Come in beside others; while there is a suspect, wait."""
        await self.opened()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._stir()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Let nobody in and wait until all are gone; False: they took too long, try later."""
        began, is_alone = self.clock(), False
        self._suspects += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._waits):
                    while self._inside:
                        await self._stirred.wait()
            is_alone = not self._inside
            self._inside += is_alone
            self._waits = self.patience if is_alone else 2 * self._waits
            yield is_alone
        finally:
            self._inside -= is_alone
            self._suspects -= 1
            self._others_until = 2 * self.clock() - began
            self._stir()

    def _stir(self) -> None:
        """Wake all who wait, to look again."""
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()
