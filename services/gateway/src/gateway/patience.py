"""How long a call waits for the broker: less than a second if it is silent, longer if it is slow.

A broker in another region, or one that has much to do, needs longer to store a request than a
caller of one that is away should have to wait. So whoever waits asks it something simple: if it
answers that, it is there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from seaway.errors import BrokerUnavailable

ASK_AFTER = 0.25
AWAY_AFTER = 0.9
"""Seconds after which a broker is away that has said nothing."""
SLOW_AFTER = 2.5
"""Seconds after which the client is to try again, though the broker is there."""


@asynccontextmanager
async def patient(ask: Callable[[], Coroutine[None, None, object]]) -> AsyncIterator[None]:
    """Bound the time that the broker may take; `ask` asks it something simple.

    Raises BrokerUnavailable. What was to be stored may be stored all the same.
    """
    clock = asyncio.get_running_loop()
    began, asking = clock.time(), set[asyncio.Task[None]]()

    async def hear() -> None:
        with suppress(BrokerUnavailable):
            await ask()
            if not patience.expired():
                patience.reschedule(began + SLOW_AFTER)

    later = clock.call_later(ASK_AFTER, lambda: asking.add(asyncio.create_task(hear())))
    try:
        async with asyncio.timeout(AWAY_AFTER) as patience:
            try:
                yield
            finally:
                later.cancel()
                for task in asking:
                    task.cancel()
    except TimeoutError as error:
        raise BrokerUnavailable(f"no answer within {clock.time() - began:.1f} s") from error
