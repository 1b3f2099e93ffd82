"""A broker and a store with buttons: each makes one thing go wrong, once.

Every operation lets others run before and after, so a worker can be killed on either side of it.
"""

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from seaway.errors import BrokerUnavailable, DependencyDown, Raced
from seaway.inbox import MemoryInbox
from seaway.testing import MemoryBroker


async def turn():
    """Let others run. Whoever is killed here never comes back."""
    await asyncio.sleep(0)


class HostileBroker(MemoryBroker):
    """A MemoryBroker that loses, repeats, reorders, forgets, lags, and goes away."""

    def __init__(self):
        super().__init__()
        self.lost_requests = 0
        """Publishes that do not arrive."""
        self.lost_answers = 0
        """Publishes that are stored, and whose answer is lost."""
        self.lost_settlements = 0
        """Acks, naks and terms that never arrive."""
        self.lagging = 0
        """Reads that a replica answers that has not heard of the message."""
        self.fates = []
        """What becomes of the next messages told live: "lost", "twice", or seconds of delay."""
        self.asked = []
        """Everything that anybody ever wanted to be stored."""

    async def publish(self, postings):
        self.asked += postings
        await turn()
        if self.lost_requests:
            self.lost_requests -= 1
            raise BrokerUnavailable("it did not arrive")
        answers = await super().publish(postings)
        await turn()
        if self.lost_answers:
            self.lost_answers -= 1
            raise BrokerUnavailable("the answer was lost")
        return answers

    async def read(self, stream, subject):
        await turn()
        found = await super().read(stream, subject)
        if self.lagging:
            self.lagging -= 1
            return None
        await turn()
        return found

    @asynccontextmanager
    async def pull(self, stream, durable):
        async with super().pull(stream, durable) as pull:
            yield HostilePull(pull, self)

    @asynccontextmanager
    async def follow(self, subjects, tell, lost):
        def told(stored):
            match self.fates.pop(0) if self.fates else None:
                case "lost":
                    return
                case "twice":
                    tell(stored)
                case float(seconds):
                    asyncio.get_running_loop().call_later(seconds, tell, stored)
                    return
            tell(stored)

        async with super().follow(subjects, told, lost):
            yield

    def add(self, posting):
        """Store a message of somebody who had no trouble."""
        self._store(posting)
        self._bell.ring()

    def deliver_again(self, order=None):
        """Hand out again what is in somebody's hands, in the order that `order` makes of it."""
        for durable in self._durables.values():
            leases = list(durable.in_hand.values())
            for place, lease in enumerate(order(leases) if order else leases):
                lease.again_at = -1e9 + place
        self._bell.ring()

    def forget_counts(self):
        """Count deliveries anew, as a broker does that was killed."""
        for durable in self._durables.values():
            for lease in durable.in_hand.values():
                lease.attempt = 0

    def mend(self):
        """Nothing goes wrong any more."""
        self.lost_requests = self.lost_answers = self.lost_settlements = self.lagging = 0
        self.fates.clear()
        if self.is_away:
            self.is_away = False


@dataclass
class HostilePull:
    pull: object
    broker: HostileBroker

    async def fetch(self, up_to, wait):
        found = await self.pull.fetch(up_to, wait)
        return [HostileDelivery(delivery, self.broker) for delivery in found]

    async def close(self):
        await self.pull.close()


@dataclass
class HostileDelivery:
    delivery: object
    broker: HostileBroker

    def __getattr__(self, name):
        return getattr(self.delivery, name)

    async def ack(self):
        await self._unless_lost(self.delivery.ack())

    async def nak(self, delay=0.0):
        await self._unless_lost(self.delivery.nak(delay))

    async def term(self, reason):
        await self._unless_lost(self.delivery.term(reason))

    async def _unless_lost(self, settlement):
        try:
            await turn()
            if self.broker.lost_settlements:
                self.broker.lost_settlements -= 1
            else:
                await settlement
        finally:
            settlement.close()


@dataclass
class Work:
    """What one transaction is about to write."""

    effects: list[str] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)


_work = ContextVar("_work")


@dataclass
class Store(MemoryInbox):
    """An inbox, a log of effects and a table of users that commit together, or not at all.

    Transactions run beside each other; of two that write the same row one commits, as with a
    unique index. The commit is the point of no return: a worker may be killed before and after.
    """

    effects: list[str] = field(default_factory=list)
    """Ids of messages, as often as they had an effect."""
    users: dict[str, str] = field(default_factory=dict)
    """Request id by address."""
    is_down: bool = False
    cut_commits: int = 0
    """Commits that are made, and whose answer is lost."""

    @property
    def work(self):
        """What the handler's transaction is about to write."""
        return _work.get()

    @asynccontextmanager
    async def transaction(self, durable):
        await turn()
        if self.is_down:
            raise DependencyDown("the database is away")
        work = Work()
        token = _work.set(work)
        try:
            async with super().transaction(durable) as transaction:
                yield transaction
                await turn()
                if self.is_down:
                    raise DependencyDown("the database went away")
                if work.users.keys() & self.users.keys():
                    raise Raced("another transaction has added this address")
        finally:
            _work.reset(token)
        self.effects += work.effects
        self.users |= work.users
        await turn()
        if self.cut_commits:
            self.cut_commits -= 1
            raise DependencyDown("cut in COMMIT")


class Forgetful(Store):
    """A store that remembers no message: what a service without an inbox has."""

    @asynccontextmanager
    async def transaction(self, durable):
        async with super().transaction(durable) as transaction:
            yield replace(transaction, rows={}, recorded={})
