"""Waiting for what nobody tells us."""

import asyncio
from inspect import isawaitable


async def until(holds, within=60.0, every=0.005):
    """Look every few milliseconds, until it holds. Raises TimeoutError after so many seconds."""
    async with asyncio.timeout(within):
        while True:
            seen = holds()
            if await seen if isawaitable(seen) else seen:
                return
            await asyncio.sleep(every)
