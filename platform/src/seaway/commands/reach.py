"""How a command reaches the broker: at once or not at all, and without a word on success."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seaway.jetstream import JetStream
from seaway.jetstream.starting import connected
from seaway.settings import Settings
from seaway.telemetry import configure_logging

PATIENCE = 5.0


@asynccontextmanager
async def reached() -> AsyncIterator[JetStream]:
    """Yield the broker that the settings name. Raises BrokerUnavailable after five seconds."""
    async with named() as broker:
        await connected(broker, PATIENCE)
        yield broker


def named() -> JetStream:
    """Return the broker that the settings name. Entering its context waits for nothing."""
    settings = Settings.from_environment()
    configure_logging("seaway", "error", "console")
    return JetStream(settings.nats_url, "seaway", settings.nats_credentials_file)


def say(sentence: str) -> None:
    """Tell a person who waits why, beside what the command itself prints."""
    print(sentence, file=sys.stderr, flush=True)
