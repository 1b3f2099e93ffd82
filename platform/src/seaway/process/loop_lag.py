"""How late the event loop is: what blocks it delays everybody, long before the watchdog bites."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seaway.telemetry import LOOP_LAG

ASK_EVERY = 0.5


@asynccontextmanager
async def loop_lag(service: str, ask_every: float = ASK_EVERY) -> AsyncIterator[None]:
    """Measure, while the context lasts, how much later than it should the loop wakes a task."""

    async def ask() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(ask_every)
            LOOP_LAG.labels(service).observe(max(0.0, time.monotonic() - began - ask_every))

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
