"""A flow and its watchers on a hostile broker, as a state machine of hypothesis.

Live messages get lost, come late, twice and out of order; replicas lag; the broker goes away;
clients go and come back with what they saw last. Everybody is told the whole story, once.
"""

import asyncio

from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
)
from hostile import HostileBroker
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from seaway.contract import address_of
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable
from seaway.flow import Flow
from seaway.topology import stream_config
from virtual_time import VirtualLoop

KEY = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
TOLD_WITHIN = 20.0
"""Virtual seconds after the last fault."""
USERS = address_of(CreateUserRequested).stream
REQUESTED = CreateUserRequested(request_id=KEY, email="ada@example.org", display_name="Ada")
OUTCOMES = (
    CreateUserConfirmed(request_id=KEY, user_id="u" * 16, email="ada@example.org"),
    CreateUserRejected(request_id=KEY, reason=CreateUserRejected.REASON_EMAIL_TAKEN),
)
EMAILED = SignUpEmailHandled(request_id=KEY, kind=SignUpEmailHandled.KIND_GREETING)


class Watcher:
    """A client: what it was told, over all its connections."""

    def __init__(self, until):
        self.until = until
        self.told = []
        self.task = None

    async def watch(self, flow):
        after = self.told[-1].stage if self.told else -1
        with flow.watch(KEY, after=after, until=self.until) as watch:
            async for fact in watch:
                self.told.append(fact)


class Watching(RuleBasedStateMachine):
    """What hypothesis presses."""

    flow = Flow

    def __init__(self):
        super().__init__()
        self.loop = VirtualLoop()
        self.broker = HostileBroker()
        self.watchers = []
        self.opening = None
        self.said = []

    @initialize()
    def begin(self):
        self.loop.run_until_complete(self.broker.put_stream(stream_config(USERS, replicas=1)))
        follow = (CreateUserConfirmed, CreateUserRejected, SignUpEmailHandled)
        self.conversation = self.flow(self.broker, CreateUserRequested, follow=follow)
        self.loop.run_until_complete(self.conversation.__aenter__())

    @rule(until=st.sampled_from([None, CreateUserConfirmed]))
    def watch(self, until):
        """Somebody begins to watch, maybe before there is anything."""
        self.watchers.append(Watcher(until))
        self.connect(self.watchers[-1])

    def connect(self, watcher):
        watcher.task = self.loop.create_task(watcher.watch(self.conversation))

    @precondition(lambda self: self.watchers)
    @rule(number=st.integers(0, 100))
    def come_back(self, number):
        """A client loses its connection, and resumes after what it saw last."""
        watcher = self.watchers[number % len(self.watchers)]
        if not watcher.task.done():
            watcher.task.cancel()
            self.loop.turn(3)
            self.connect(watcher)

    @precondition(lambda self: self.opening is None)
    @rule()
    def open(self):
        """The command is stored, however often that takes."""
        self.opening = self.loop.create_task(self._open())

    async def _open(self):
        while True:
            try:
                return await self.conversation.open(Envelope.opening(REQUESTED, source="test"))
            except BrokerUnavailable:
                await asyncio.sleep(0.1)  # as a client backs off

    @precondition(lambda self: len(self.said) < 2 and self.is_open and not self.broker.is_away)
    @rule(which=st.integers(0, 1))
    def go_on(self, which):
        """The outcome is stored, and then what was mailed about it."""
        self.loop.run_until_complete(self._say(EMAILED if self.said else OUTCOMES[which]))

    async def _say(self, body):
        self.said.append(body)
        cause = Envelope.opening(REQUESTED, source="test")
        self.broker.add(cause.reply(body, "stub").posting())

    @property
    def is_open(self):
        return self.opening is not None and self.opening.done()

    @rule(fate=st.sampled_from(["lost", "twice", 0.05, 0.7, 30.0]))
    def foresee(self, fate):
        """What becomes of a message that is told live."""
        self.broker.fates.append(fate)

    @rule(times=st.integers(1, 6))
    def lag(self, times):
        """The replicas that answer next have not heard of anything."""
        self.broker.lagging = times

    @rule(button=st.sampled_from(["lost_requests", "lost_answers"]))
    def lose(self, button):
        """The next publish, or its answer, gets lost."""
        setattr(self.broker, button, 1)

    @rule(away=st.booleans())
    def go_away(self, away):
        """The broker is away, or back."""
        self.loop.run_until_complete(self._go_away(away))

    async def _go_away(self, away):
        self.broker.is_away = away

    async def _mend(self):
        self.broker.mend()  # whoever is not cut off has no cause to read

    @rule(times=st.integers(1, 8))
    def work(self, times):
        """Everybody gets so many turns."""
        self.loop.turn(times)

    @rule(seconds=st.sampled_from([0.02, 0.2, 1.0, 7.0]))
    def wait(self, seconds):
        """Time passes."""
        self.loop.pass_time(seconds)

    def look(self):
        """Everybody was told everything, in order, once."""
        everything = [REQUESTED, *self.said]
        for watcher in self.watchers:
            expected = everything[:2] if watcher.until else everything
            assert [fact.body for fact in watcher.told] == expected, "another story"
            assert watcher.task.done(), "no definite answer"

    def teardown(self):
        try:
            if self.broker._streams:
                self.loop.run_until_complete(self._mend())
                if self.opening is None:
                    self.open()
                self.loop.run_until_complete(self.opening)
                while len(self.said) < 2:
                    self.loop.run_until_complete(self._say(EMAILED if self.said else OUTCOMES[0]))
                self.loop.pass_time(TOLD_WITHIN)
                self.look()
        finally:
            self.loop.close()
