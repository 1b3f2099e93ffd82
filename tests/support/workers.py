"""One consumer on one durable, driven by hand: a test decides what happens, and when."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from seaway.breaker import Breaker
from seaway.consumer import Consumer
from seaway.contract import address_of
from seaway.dead_letters import DEAD, letters
from seaway.envelope import Envelope
from seaway.inbox import MemoryInbox
from seaway.outcome import RetryPolicy
from seaway.service import Service
from seaway.topology import apply, declared

DURABLE = "user-creation-create-user-requested"
USERS = address_of(CreateUserRequested).stream


def a_request(name="Ada", **fields):
    known = {"request_id": str(uuid4()), "email": f"{name}@example.org", "display_name": name}
    return CreateUserRequested(**known | fields)


def confirmed(message, **fields):
    return CreateUserConfirmed(
        request_id=message.body.request_id, user_id="u", email=message.body.email, **fields
    )


def rejected(message):
    return CreateUserRejected(
        request_id=message.body.request_id, reason=CreateUserRejected.REASON_EMAIL_TAKEN
    )


def posting_of(body, **changes):
    return replace(Envelope.opening(body, source="test").posting(), **changes)


def alien(data=b"\xff\xff", **headers):
    """What anybody may put on the subject of a request."""
    posting = posting_of(a_request())
    known = {**posting.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return replace(posting, data=data, headers={k: v for k, v in known.items() if v is not None})


def by_name(**answers):
    """A handler of batches that does for each name what the test says, and confirms the rest."""

    async def handle(messages):
        handle.calls.append([message.body.display_name for message in messages])
        replies = []
        for message in messages:
            answer = answers.get(message.body.display_name, confirmed)
            if isinstance(answer, BaseException):
                raise type(answer)(*answer.args)  # a new one: its trace would grow
            replies.append(answer(message))
        return replies

    handle.calls = []
    return handle


@dataclass
class Worker:
    """A consumer, and the hand that feeds it."""

    broker: Any
    consumer: Consumer
    seen: list = field(default_factory=list)
    """(sequence, attempt) of each delivery."""

    @classmethod
    async def made(cls, broker, handle, inbox=None, *, up_to=256, breaker=None, **changes):
        """Make the streams and the durable that it needs; `changes` are of its subscription."""
        service = Service("user-creation", inbox or MemoryInbox())
        service.on_batch(CreateUserRequested, up_to=up_to)(handle)
        changes = {"policy": RetryPolicy(jitter=lambda seconds: seconds)} | changes
        subscription = replace(service.subscriptions[0], **changes)
        await apply(broker, declared([DEAD, USERS], [subscription]))
        breaker = breaker or Breaker(pauses=(0.0,))
        return cls(broker, Consumer(subscription, broker, service.inbox, "1.2.3", breaker))

    @property
    def inbox(self):
        return self.consumer.inbox

    async def send(self, *bodies):
        """Publish requests, or whatever is ready to be stored."""
        postings = [b if hasattr(b, "subject") else posting_of(b) for b in bodies]
        return await self.broker.publish(postings)

    async def round(self, wait=0.0):
        """Fetch what is due, process it, and say how much it was."""
        subscription = self.consumer.subscription
        async with self.broker.pull(subscription.stream.name, subscription.durable) as pull:
            deliveries = await pull.fetch(subscription.up_to, wait)
        self.seen += [(delivery.sequence, delivery.attempt) for delivery in deliveries]
        others, suspects = await self.consumer.told_apart(deliveries)
        if others:
            await self.consumer.in_turn(others)
        if suspects:
            await self.consumer.alone(suspects)
        return len(deliveries)

    async def rounds(self, most=100):
        """Go on until nothing is due. Of use with a broker that is hurried."""
        for _ in range(most):
            if not await self.round():
                return
        raise AssertionError(f"still something to do after {most} rounds")

    async def letters(self):
        return [letter async for letter in letters(self.broker)]

    async def reasons(self):
        return [letter.reason for letter in await self.letters()]

    async def replies(self):
        """What it has said, as stored."""
        stored = [s async for s in self.broker.scan("USERS", "users.v1.*.*")]
        return [s for s in stored if "create-requested" not in s.subject]

    async def is_settled(self):
        durables = await self.broker.durables("USERS")
        durable = durables[self.consumer.subscription.durable]
        return durable.pending == durable.ack_pending == 0


@dataclass
class Running:
    """A consumer that runs; on leaving it is told to stop, and waited for."""

    consumer: Consumer
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.consumer.run(self.stopping))
        return self

    async def __aexit__(self, *_):
        self.stopping.set()
        async with asyncio.timeout(10):
            await self.task
