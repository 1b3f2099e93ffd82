"""A broker that is only just being started, and whoever needs something of it already."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream

PATIENCE = 60.0
"""Seconds. A cluster elects who leads its streams in 4 to 9 s, on a busy machine in 30."""
AGAIN_AFTER = 1.0


async def answered[T](
    broker: JetStream,
    ask: Callable[[], Awaitable[T]],
    tell: Callable[[str], None],
    within: float = PATIENCE,
) -> T:
    """Return what `ask` returns; while the broker is away, or cannot answer yet, ask again.

    `ask` must be safe to repeat. `tell` hears each new reason to wait. Raises BrokerUnavailable
    with the last reason after `within` seconds.
    """
    over, told = time.monotonic() + within, ""
    while True:
        try:
            await connected(broker, AGAIN_AFTER)
            return await ask()
        except BrokerUnavailable as error:
            if time.monotonic() >= over:
                raise BrokerUnavailable(f"{error}; gave up after {within:.0f} s") from error
            if str(error) != told:
                told = str(error)
                tell(f"waiting for the broker: {told}")
        await asyncio.sleep(AGAIN_AFTER)


async def connected(broker: JetStream, within: float) -> None:
    """Return when the broker is there. Raises BrokerUnavailable after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            await broker.connected()
    except TimeoutError:
        raise BrokerUnavailable(f"no answer from {broker.connection.where}") from None
