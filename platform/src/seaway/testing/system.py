"""All services of a test, running in its event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.message import Message

from seaway.breaker import Breaker
from seaway.broker import Conflict, Stored
from seaway.consumer import Consumer
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.envelope import Envelope, decode
from seaway.errors import ContractError
from seaway.service import Service
from seaway.testing.memory_broker import MemoryBroker
from seaway.topology import apply, declared


@dataclass(slots=True)
class System:
    """Services that run, and what they do when something is sent."""

    broker: MemoryBroker
    streams: Sequence[str]
    _consuming: asyncio.Task[None]
    _sent: set[tuple[str, int]] = field(default_factory=set)

    async def send(self, *bodies: Message, within: float = 5.0) -> None:
        """Open a conversation with each; return when nothing is left in any service's hands.

        What replies cause is waited for, too, and delays between attempts pass at once. Raises
        ContractError if another message with the same key is stored already, and TimeoutError
        that says which durables still have messages after `within` seconds.
        """
        postings = [Envelope.opening(body, source="test").posting() for body in bodies]
        answers = await self.broker.publish(postings)
        for posting, answer in zip(postings, answers, strict=True):
            if isinstance(answer, Conflict):
                raise ContractError(
                    f"{answer.stored.subject} is stored, and {posting.subject} not"
                )
            self._sent.add((posting.stream, answer.sequence))
        await self.settled(within)

    async def deliver_all_again(self, within: float = 5.0) -> None:
        """Hand every durable every message once more, as after a power cut of the broker."""
        self.broker.forget_acks()
        await self.settled(within)

    async def settled(self, within: float = 5.0) -> None:
        """Return when nothing is left in any service's hands.

        Raises TimeoutError, and the error of a service that has ended.
        """
        settled = asyncio.create_task(self.broker.settled())
        try:
            await asyncio.wait(
                {settled, self._consuming},
                timeout=within,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._consuming.done():
                await self._consuming
            if not settled.done():
                left = [f"{name}: {count}" for name, count in self.broker.unsettled().items()]
                raise TimeoutError(f"after {within} s not settled: {', '.join(left)}")
        finally:
            settled.cancel()

    @property
    def published(self) -> list[Message]:
        """What the services said, in the order in which it was stored."""
        return [
            _body_of(stored)
            for stream in self.streams
            for stored in self.broker.messages(stream)
            if (stream, stored.sequence) not in self._sent
        ]

    @property
    def dead_letters(self) -> list[str]:
        """Why messages were set aside, in the order in which it happened."""
        return [stored.headers["seaway-reason"] for stored in self.broker.messages(DEAD.name)]


@asynccontextmanager
async def running(*services: Service, broker: MemoryBroker | None = None) -> AsyncIterator[System]:
    """Run services on a broker in memory, its streams and durables made as they declare.

    On leaving they finish what is in hand. An error that ends a service is raised by the next
    `send`, or on leaving.
    """
    broker = broker or MemoryBroker(hurried=True)
    subscriptions = [s for service in services for s in service.subscriptions]
    streams = {s.name: s for s in (address_of(t).stream for t in installed_types().values())}
    await apply(broker, declared([DEAD, *streams.values()], subscriptions))
    consumers = [
        Consumer(s, broker, service.inbox, breaker=Breaker(pauses=(0.0,)))
        for service in services
        for s in service.subscriptions
    ]
    stopping = asyncio.Event()
    consuming = asyncio.create_task(_consume(consumers, stopping))
    try:
        yield System(broker, tuple(streams), consuming)
    finally:
        stopping.set()
        await consuming


async def _consume(consumers: Sequence[Consumer], stopping: asyncio.Event) -> None:
    # Not around the test itself: it would rewrap the test's own errors.
    async with asyncio.TaskGroup() as tasks:
        for consumer in consumers:
            tasks.create_task(consumer.run(stopping))
        await stopping.wait()


def _body_of(stored: Stored) -> Message:
    type_ = installed_types()[stored.headers["ce-type"]]
    return decode(type_, stored.data, stored.headers).body
