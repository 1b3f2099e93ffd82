"""How a command reaches the broker: at once or not at all, and without a word on success."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from seaway.settings import Settings
from seaway.telemetry import configure_logging

PATIENCE = 5.0


@asynccontextmanager
async def reached() -> AsyncIterator[JetStream]:
    """Yield the broker that the settings name. Raises BrokerUnavailable after five seconds."""
    settings = Settings.from_environment()
    configure_logging("seaway", "error", "console")
    async with JetStream(settings.nats_url, "seaway", settings.nats_credentials_file) as broker:
        try:
            async with asyncio.timeout(PATIENCE):
                await broker.connected()
        except TimeoutError:
            raise BrokerUnavailable(f"no answer from {broker.connection.where}") from None
        yield broker
