"""The pure core driven against a hostile broker and store, as a state machine of hypothesis.

Two workers create users, a third one greets them. Buttons are pressed at any turn of the event
loop, workers are killed at any await. At the end everything is mended, and what must hold is
looked at.
"""

import asyncio
import random
from collections import Counter
from uuid import UUID

from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
)
from hostile import HostileBroker, Store, turn
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from seaway import Service, Unprocessable
from seaway.breaker import Breaker
from seaway.consumer import Consumer
from seaway.contract import address_of
from seaway.dead_letters import DEAD, Letter
from seaway.envelope import Envelope
from seaway.topology import apply, declared
from virtual_time import VirtualLoop

HEALED_WITHIN = 20_000.0
"""Virtual seconds: a message that failed often waits ten minutes for its next attempt."""
MOST_FAILURES = 6
"""Of the handler itself; from the tenth on giving up would be right."""
STREAM = address_of(CreateUserRequested).stream
CONFIRMED, REJECTED, EMAILED = (
    address_of(message).subject
    for message in (CreateUserConfirmed, CreateUserRejected, SignUpEmailHandled)
)


def user_creation(store, faults):
    """As the real one: an effect, an address that is unique, an id of the user that is drawn."""
    service = Service("user-creation", store)

    @service.on_batch(CreateUserRequested, up_to=4)
    async def create(messages):
        await turn()
        if faults["failures"]:
            faults["failures"] -= 1
            raise RuntimeError("something that may pass")
        return [answer(message) for message in messages]

    def answer(message):
        request, work = message.body, store.work
        if request.display_name == "poison":
            raise Unprocessable("POISON")
        work.effects.append(message.id)
        known = {"request_id": request.request_id, "email": request.email}
        if request.email in store.users or request.email in work.users:
            return CreateUserRejected(**known, reason=CreateUserRejected.REASON_EMAIL_TAKEN)
        work.users[request.email] = request.request_id
        return CreateUserConfirmed(**known, user_id=str(UUID(int=random.getrandbits(128))))

    return service


def greeter(greeted):
    """Without an inbox: its effect has a key, so doing it twice does no harm."""
    service = Service("greeter")

    @service.on(CreateUserConfirmed, at_once=2)
    async def greet(message):
        await turn()
        greeted.add(message.body.request_id)
        return SignUpEmailHandled(request_id=message.body.request_id)

    return service


class Core(RuleBasedStateMachine):
    """What hypothesis presses. Subclasses put in what should be caught."""

    consumer = Consumer
    store = Store

    def __init__(self):
        super().__init__()
        self.loop = VirtualLoop()
        self.broker = HostileBroker()
        self.ledger = self.store()
        self.faults = Counter()
        self.greeted = set()
        self.requests = []
        self.workers = []

    @initialize()
    def begin(self):
        services = [user_creation(self.ledger, self.faults), greeter(self.greeted)]
        subscriptions = [s for service in services for s in service.subscriptions]
        self.loop.run_until_complete(apply(self.broker, declared([DEAD, STREAM], subscriptions)))
        creation, greeting = services
        for service in (creation, creation, greeting):
            self.workers.append([service, None])
        for number in range(len(self.workers)):
            self.start(number)

    def start(self, number):
        service, _ = self.workers[number]
        [subscription] = service.subscriptions
        breaker = Breaker(clock=self.loop.time)
        consumer = self.consumer(subscription, self.broker, service.inbox, breaker=breaker)
        # Nobody is asked to stop here: they are killed.
        self.workers[number][1] = self.loop.create_task(consumer.run(asyncio.Event()))

    @rule(address=st.sampled_from("abc"), name=st.sampled_from(["Ada", "Ada", "Ada", "poison"]))
    def ask(self, address, name):
        """Somebody signs up."""
        self.add(address, name)

    def add(self, address, name):
        request = CreateUserRequested(
            request_id=str(UUID(int=len(self.requests) + 1)),
            email=f"{address}@example.org",
            display_name=name,
        )
        posting = Envelope.opening(request, source="test").posting()
        self.requests.append(request)
        self.broker.add(posting)

    @rule(times=st.integers(1, 12))
    def work(self, times):
        """Everybody gets so many turns."""
        self.loop.turn(times)

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 40.0]))
    def wait(self, seconds):
        """Time passes, and with it ack waits and delays."""
        self.loop.pass_time(seconds)

    @rule(number=st.integers(0, 2), again=st.booleans())
    def kill(self, number, again):
        """A worker dies at the await where it is. It may be started again at once."""
        _, task = self.workers[number]
        if task is not None:
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
            self.workers[number][1] = None
        if again or task is None:
            self.start(number)

    @rule(
        button=st.sampled_from(["lost_requests", "lost_answers", "lost_settlements"]),
        times=st.integers(1, 3),
    )
    def lose(self, button, times):
        """The next publishes, answers or acks get lost."""
        setattr(self.broker, button, times)

    @rule()
    def deliver_twice(self):
        """What somebody has in hand is delivered to somebody else, too."""
        self.broker.deliver_again()

    @rule(number=st.integers(0, 10_000))
    def reorder(self, number):
        """What is in hand comes again in another order."""
        dice = random.Random(number)
        self.broker.deliver_again(lambda leases: dice.sample(leases, len(leases)))

    @rule()
    def forget_acks(self):
        """The broker begins anew with everything."""
        self.broker.forget_acks()

    @rule()
    def forget_counts(self):
        """The broker takes every next delivery for the first."""
        self.broker.forget_counts()

    @rule(away=st.booleans())
    def go_away(self, away):
        """The broker is away, or back."""
        self.broker.is_away = away

    @rule(down=st.booleans())
    def cut(self, down):
        """The database is away, or back."""
        self.ledger.is_down = down

    @rule()
    def cut_commit(self):
        """The next commit is made, and nobody learns of it."""
        self.ledger.cut_commits = 1

    @precondition(lambda self: self.faults["pressed"] < MOST_FAILURES)
    @rule()
    def fail(self):
        """The handler fails."""
        self.faults.update(["failures", "pressed"])

    @invariant()
    def nothing_happened_twice(self):
        assert max(Counter(self.ledger.effects).values(), default=0) <= 1, "a second effect"

    @invariant()
    def nobody_is_told_what_is_not_so(self):
        if self.workers:
            told = self.told()
            for request in self.requests:
                self.agrees(request, told[request.request_id])

    def agrees(self, request, told):
        """An outcome is told once, and is what the store says."""
        assert len(told) <= 1, "two outcomes"
        winner = self.ledger.users.get(request.email)
        if CONFIRMED in told:
            assert winner == request.request_id
        if REJECTED in told:
            assert winner not in {None, request.request_id}

    def told(self):
        """The outcomes of each request, as the stream keeps them."""
        found = {request.request_id: [] for request in self.requests}
        for stored in self.broker.messages(STREAM.name):
            subject, _, key = stored.subject.rpartition(".")
            if subject in {CONFIRMED, REJECTED}:
                found[key].append(subject)
        return found

    def heal(self):
        """Mend everything, and wait until nothing is left in anybody's hands."""
        self.broker.mend()
        self.ledger.is_down, self.ledger.cut_commits = False, 0
        self.faults.clear()
        for number, (_, task) in enumerate(self.workers):
            if task is None:
                self.start(number)
        settled = self.loop.create_task(self.broker.settled())
        until = self.loop.time() + HEALED_WITHIN
        while not settled.done() and self.loop.time() < until:
            self.loop.pass_time(1.0)
            assert not any(task.done() for _, task in self.workers), "a worker has ended"
        assert settled.done(), self.broker.unsettled()

    def look(self):
        """Everything that must hold once nothing is left to do."""
        letters = [Letter.of(stored) for stored in self.broker.messages(DEAD.name)]
        poison = [r.request_id for r in self.requests if r.display_name == "poison"]
        assert {letter.reason for letter in letters} <= {"POISON"}, "set aside without reason"
        assert sorted(letter.message_id for letter in letters) == sorted(poison), "other letters"
        assert self.outcomes() == self.greeted

    def outcomes(self):
        """Look at every outcome, and return who is confirmed."""
        told, confirmed = self.told(), set()
        for request in self.requests:
            if request.display_name != "poison":
                assert len(told[request.request_id]) == 1, "no outcome"
                assert self.ledger.effects.count(request.request_id) == 1, "not one effect"
            if CONFIRMED in told[request.request_id]:
                confirmed.add(request.request_id)
        assert set(self.ledger.users.values()) == confirmed
        self.every_reply_was_always_the_same()
        return confirmed

    def every_reply_was_always_the_same(self):
        said = {}
        for posting in self.broker.asked:
            if posting.subject.startswith((CONFIRMED, REJECTED)):
                one = (posting.data, posting.headers)
                assert said.setdefault(posting.subject, one) == one

    def teardown(self):
        try:
            if self.workers:
                self.heal()
                self.look()
        finally:
            self.loop.close()
