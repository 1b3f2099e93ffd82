"""What a service's main finds around it, where a test has it run in its own loop."""

from contextlib import asynccontextmanager

from seaway.jetstream import JetStream
from seaway.testing import nats_server


@asynccontextmanager
async def told_of_a_broker(monkeypatch):
    """A real broker, of which the environment tells; yields a connection that looks at it."""
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        monkeypatch.setenv("SEAWAY_NATS_URL", server.url)
        monkeypatch.setenv("SEAWAY_METRICS_PORT", "0")
        yield broker
