"""F14: what is delivered to two workers in any order, any number of times, ends the same way."""

import asyncio
from dataclasses import dataclass

import pytest
from core_machine import STREAM, Core, user_creation
from hostile import Forgetful
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from seaway.breaker import Breaker
from seaway.broker import Stored
from seaway.dead_letters import DEAD
from seaway.topology import apply, declared

PEOPLE = ("a", "a", "a", "b")
"""Whose address is whose: three of them race for one."""

batches = st.lists(
    st.lists(st.integers(0, len(PEOPLE) - 1), min_size=1, max_size=4, unique=True), max_size=5
)
"""What one worker is given, batch by batch: the same message again, sooner or later, or never."""


pytestmark = pytest.mark.usefixtures("quiet")


@dataclass
class Delivery:
    """One of many of one message; remembers how it was settled."""

    stored: Stored
    attempt: int
    settled: list

    def __getattr__(self, name):
        return getattr(self.stored, name)

    async def ack(self):
        self.settled.append("ack")

    async def nak(self, delay=0.0):
        self.settled.append("nak")

    async def term(self, reason):
        self.settled.append(reason)

    async def in_progress(self):
        pass


class Two(Core):
    """Two workers that are given what a test says, in its order."""

    def prepare(self):
        self.service = user_creation(self.ledger, self.faults)
        topology = declared([DEAD, STREAM], self.service.subscriptions)
        self.loop.run_until_complete(apply(self.broker, topology))
        for address in PEOPLE:
            self.add(address, "Ada")
        self.settled = [[] for _ in PEOPLE]
        self.attempts = [0 for _ in PEOPLE]

    def delivery(self, number):
        self.attempts[number] += 1
        stored = self.broker.messages(STREAM.name)[number]
        return Delivery(stored, self.attempts[number], self.settled[number])

    async def worker(self, numbers, head_start):
        [subscription] = self.service.subscriptions
        breaker = Breaker(clock=self.loop.time)
        consumer = self.consumer(subscription, self.broker, self.ledger, breaker=breaker)
        for _ in range(head_start):
            await asyncio.sleep(0)
        for batch in numbers:
            await consumer.process([self.delivery(number) for number in batch])

    async def both(self, one, other, head_start):
        await asyncio.gather(self.worker(one, 0), self.worker(other, head_start))

    def finish(self):
        """Deliver what nobody is done with, again and again, one at a time."""
        self.broker.mend()
        for _ in range(10):
            left = [n for n, settled in enumerate(self.settled) if set(settled) <= {"nak"}]
            self.loop.run_until_complete(self.worker([[n] for n in left], 0))
        assert not left, "never done"


def reordered(machine, one, other, head_start, lost):
    """Try one order; everything that must hold is looked at."""
    world = machine()
    try:
        world.prepare()
        world.broker.lost_answers, world.broker.lost_requests = lost
        world.loop.run_until_complete(world.both(one, other, head_start))
        world.finish()
        world.nothing_happened_twice()
        assert len(world.outcomes()) == len(set(PEOPLE))
        assert world.broker.messages(DEAD.name) == ()
    finally:
        world.loop.close()
    return len(one) + len(other) - len(PEOPLE)


def every_order(machine, examples, first, *, phases=tuple(Phase)):
    """Try so many; return how many there were, and how many deliveries too many they had."""
    tried, again = 0, 0

    @seed(first)
    @settings(
        max_examples=examples,
        deadline=None,
        report_multiple_bugs=False,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(batches, batches, st.integers(0, 12), st.tuples(st.integers(0, 2), st.integers(0, 2)))
    def try_it(one, other, head_start, lost):
        nonlocal tried, again
        tried += 1
        again += max(reordered(machine, one, other, head_start, lost), 0)

    try_it()
    return tried, again


def test_the_order_of_deliveries_does_not_matter(size, dice, goal):
    examples = size(smoke=200, full=10_000)
    tried, again = every_order(Two, examples, dice.getrandbits(32))
    goal("R2", 0, f"0 ({tried} orders)", hits=again, least=examples // 10)


class Wrong(Two):
    store = Forgetful


def test_two_workers_without_an_inbox_would_be_found():
    with pytest.raises(AssertionError, match="effect"):
        every_order(Wrong, 200, 1, phases=(Phase.generate,))
