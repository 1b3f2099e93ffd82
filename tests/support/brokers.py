"""Both brokers that the platform knows, made to fail and mended in the same words."""

import asyncio
from contextlib import AsyncExitStack

from nats_servers import nats_server
from seaway.broker import Posting
from seaway.contract import Stream
from seaway.jetstream import JetStream
from seaway.testing import MemoryBroker
from seaway.topology import DurableSpec

STREAM = Stream(
    name="TEST",
    subjects="test.v1.>",
    max_age=3600.0,
    once_per_key=True,
    duplicate_window=None,
    max_bytes=100_000_000,
)


def a_posting(key, data=b"data", *, fact="done", id="", rivals=()):
    headers = {"ce-id": id or f"id-{key}", "ce-type": "test"}
    rivals = tuple(f"test.v1.{rival}.{key}" for rival in rivals)
    return Posting("TEST", f"test.v1.{fact}.{key}", data, headers, rivals)


def numbered(count, fact="done"):
    return [a_posting(f"{n:05}", b"%d" % n, fact=fact) for n in range(count)]


def a_spec(name="worker", *, service="worker", start="beginning", ack_wait=5.0, facts=("done",)):
    subjects = tuple(f"test.v1.{fact}.*" for fact in facts)
    return DurableSpec(name, service, "TEST", subjects, start, ack_wait, 2000)


class InMemory:
    """The fake."""

    async def __aenter__(self):
        self.broker = MemoryBroker()
        return self

    async def __aexit__(self, *_):
        pass

    async def another_client(self):
        return self.broker

    async def fail(self):
        self.broker.is_away = True

    async def mend(self):
        self.broker.is_away = False


class Real:
    """A nats-server of its own. Its clients end with it."""

    async def __aenter__(self):
        self.contexts = AsyncExitStack()
        self.server = await self.contexts.enter_async_context(nats_server())
        self.broker = await self.another_client()
        return self

    async def __aexit__(self, *_):
        await self.contexts.aclose()

    async def another_client(self):
        client = await self.contexts.enter_async_context(JetStream(self.server.url, "test"))
        async with asyncio.timeout(5):
            await client.connected()
        return client

    async def fail(self):
        await self.server.kill()

    async def mend(self):
        await self.server.restart()
