"""Around a fetch: letting a batch fill, keeping what was fetched, and knowing when to stop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from seaway.broker import Delivery, Pull
from seaway.errors import BrokerUnavailable, DurableGone
from seaway.service import Subscription

FETCH_WAIT = 1.0
"""Seconds that one fetch waits for a message. Short, since a fetch is never cancelled."""


async def filled(
    pull: Pull, up_to: int, subscription: Subscription, stopping: asyncio.Event
) -> Sequence[Delivery]:
    """Fetch a batch, and give it as long to fill, once it has a first message, as is allowed.

    Raises DurableGone, but not if something was fetched: then the next fetch will.
    """
    deliveries = list(await pull.fetch(up_to, FETCH_WAIT))
    if not deliveries or not subscription.within:
        return deliveries
    clock = asyncio.get_running_loop()
    until = clock.time() + subscription.within
    with suppress(DurableGone):
        async with keep_alive(deliveries, subscription.ack_wait):
            while len(deliveries) < up_to and not stopping.is_set():
                left = until - clock.time()
                if left <= 0:
                    break
                deliveries += await pull.fetch(up_to - len(deliveries), min(left, FETCH_WAIT))
    return deliveries


@asynccontextmanager
async def keep_alive(deliveries: Sequence[Delivery], ack_wait: float) -> AsyncIterator[None]:
    """Tell the broker, three times in an ack wait, that these are still being worked on.

    What is taken out of them meanwhile is not told of any more.
    """

    async def tell() -> None:
        while True:
            await asyncio.sleep(ack_wait / 3)
            with suppress(BrokerUnavailable):
                for delivery in tuple(deliveries):
                    await delivery.in_progress()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()


async def close_when(stopping: asyncio.Event, pull: Pull) -> None:
    """Let go of a durable as soon as the process is told to stop."""
    await stopping.wait()
    await pull.close()


async def told(stopping: asyncio.Event, within: float) -> bool:
    """Wait so many seconds at most; return whether the process was told to stop."""
    if within:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await stopping.wait()
    return stopping.is_set()
