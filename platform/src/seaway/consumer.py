"""The life of a message: fetched, handled, answered, settled.

Read `Consumer.process` first: it is the whole of it. `run` above it feeds it, everything below
is one of its steps, in order.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import batched

import structlog
from google.protobuf.message import Message

from seaway.breaker import Breaker
from seaway.broker import Broker, Delivery, Pull
from seaway.dead_letters import id_of, set_aside
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable, DependencyDown, DurableGone, StreamFull, Unprocessable
from seaway.failpoints import crash_here, crash_once_sent
from seaway.fetching import FETCH_WAIT, close_when, filled, keep_alive, told
from seaway.inbox import Handled, Inbox
from seaway.outcome import Ack, DeadLetter, Outcome, Retry, counts, is_away, shown
from seaway.replies import Answer, counting, decoded, postings, row_of
from seaway.room import Room
from seaway.service import Subscription
from seaway.suspects import MOST_KILLS, Suspect, split, told_apart
from seaway.telemetry import DEAD_LETTERS, labels_of, observe
from seaway.tracing import publishing

log = structlog.get_logger("seaway.consumer")

HANDLE_WITHIN = 30.0
"""Seconds after which a handler is cut off and its messages are tried again."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """Feeds one subscription from its durable. Any number of processes may share a durable."""

    subscription: Subscription
    broker: Broker
    inbox: Inbox
    version: str = ""
    """Of the service, for its dead letters."""
    breaker: Breaker = field(default_factory=Breaker)
    handle_within: float = HANDLE_WITHIN
    room: Room = field(default_factory=Room)
    """The one of the process, shared by all its consumers."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch and process until `stopping` is set; then finish what is in hand and return.

        Never more is fetched than can be handled at once, because the broker's ack wait runs
        for everything that was fetched. What came too late to be begun goes back at once. While
        a dependency is away nothing is fetched but, now and then, one message to see. A batch is
        begun beside another only in a backlog: else both would be smaller, and dearer.
        """
        up_to, at_once, backlog = self.subscription.up_to, self.subscription.at_once, True
        in_hand: set[asyncio.Task[None]] = set()
        async with (
            self.broker.pull(self.subscription.stream.name, self.subscription.durable) as pull,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(close_when(stopping, pull))
            while not await told(stopping, within=self.breaker.pause()):
                await self.room.opened()
                if in_hand and (len(in_hand) == at_once or self.breaker.is_open or not backlog):
                    await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                    continue
                most = 1 if self.breaker.is_open else (at_once - len(in_hand)) * up_to
                deliveries = await self.fetch(pull, most, stopping)
                backlog = up_to == 1 or len(deliveries) == most
                if not deliveries:
                    self.breaker.idle()
                others, suspects = await self.told_apart(deliveries)
                for batch in batched(others, up_to):
                    task = tasks.create_task(self.in_turn(batch))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)
                if suspects:
                    await self.alone(suspects)

    async def told_apart(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], Sequence[Suspect]]:
        """Return what may be tried beside others, and what may not; the worst comes last.

        Nothing is asked about what comes for the first time: while all goes well it costs
        nothing. If the inbox cannot answer, all that comes again is suspect.
        """
        first, again = split(deliveries, self.subscription.together_until)
        if not again:
            return first, ()
        try:
            async with keep_alive(deliveries, self.subscription.ack_wait):
                ids = [id_of(delivery) for delivery in again]
                trouble = await self.inbox.trouble(self.subscription.durable, ids)
        except DependencyDown:
            return first, [Suspect(delivery) for delivery in again]
        others, suspects = told_apart(again, trouble)
        return [*first, *others], suspects

    async def in_turn(self, deliveries: Sequence[Delivery]) -> None:
        """Process first deliveries as one batch, then repeated ones each by itself, in order.

        So a message that fails takes others with it only once, or as often as the subscription
        allows, and then holds up nobody but itself. If a dependency goes away meanwhile, the
        rest goes back untried.
        """
        together, again = split(deliveries, self.subscription.together_until)
        waiting = [*together, *again]
        async with (
            keep_alive(waiting, self.subscription.ack_wait),
            self.room.beside_others(),
        ):
            for batch in [together, *([delivery] for delivery in again)]:
                del waiting[: len(batch)]
                if batch is not together and self.breaker.is_open and len(deliveries) > 1:
                    await self.settle(batch[0], Retry(after=self.breaker.pause()))
                elif batch:
                    await self.process(batch)

    async def alone(self, suspects: Sequence[Suspect]) -> None:
        """Try the least suspect with nothing else in hand; the others go back before.

        So if it ends the process nobody else is to blame, and nobody waits for an ack wait. One
        that has killed is tried after as long as one that has failed as often.
        """
        policy = self.subscription.policy
        waits = [self.room.too_soon(policy.delay(suspect.kills - 1)) for suspect in suspects]
        chosen = suspects[0].delivery
        for suspect, wait in zip(suspects, waits, strict=True):
            if wait or suspect.delivery is not chosen:
                await self.settle(suspect.delivery, Retry(after=wait))
        if waits[0]:
            return
        async with keep_alive([chosen], self.subscription.ack_wait):
            # Those that were fetched with it come in first.
            await asyncio.sleep(0)
            async with self.room.alone() as is_alone:
                if is_alone:
                    await self.process([chosen])
            if not is_alone:
                await self.settle(chosen, Retry(after=self.room.too_soon(0)))

    async def process(self, deliveries: Sequence[Delivery]) -> None:
        """Handle what was delivered and tell the broker what became of each."""
        crash_here("U1")
        with observe(self.subscription, deliveries) as observation:
            async with keep_alive(deliveries, self.subscription.ack_wait):
                outcomes = await self.handled(deliveries)
            crash_here("U4")
            await self.settle_each(deliveries, outcomes)
            observation.outcomes = outcomes
        await crash_once_sent("U5")

    async def handled(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Try them together. One that is unprocessable is found by halving the batch."""
        try:
            async with asyncio.timeout(self.handle_within):
                await self.begin(deliveries)
                answers = await self.answered(deliveries)
                if not all(isinstance(answer, Exception) for answer in answers):
                    self.breaker.succeeded()
            crash_here("U3")
            return await self.published(deliveries, answers)
        except Exception as error:
            if isinstance(error, Unprocessable) and len(deliveries) > 1:
                middle = len(deliveries) // 2
                first = await self.handled(deliveries[:middle])
                return first + await self.handled(deliveries[middle:])
            return await self.decided(error, deliveries)

    async def begin(self, deliveries: Sequence[Delivery]) -> None:
        """Put a repeated delivery on record before it is tried: some never come back from it."""
        match deliveries:
            case [delivery] if delivery.attempt > 1:
                durable, attempt = self.subscription.durable, delivery.attempt
                trials = await self.inbox.begun(durable, id_of(delivery), attempt)
                if trials.kills > MOST_KILLS:
                    raise Unprocessable("KILLS_ITS_PROCESS")

    async def answered(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        """Return each one's replies: those of the first time, if it was handled before.

        The effect, the fact that it is handled and the replies are kept together, or none. Of a
        message that failed alone nothing is kept, and its error is its answer; so it is of one
        that nobody can read, and the others need not be halved to find it.
        """
        read = [decoded(delivery, self.subscription) for delivery in deliveries]
        pairs = zip(read, deliveries, strict=True)
        rows = [row_of(m, d) for m, d in pairs if not isinstance(m, Exception)]
        messages = [message for message in read if not isinstance(message, Exception)]
        if not messages:
            return [error for error in read if isinstance(error, Exception)]
        async with self.inbox.transaction(self.subscription.durable) as transaction:
            known = dict(await transaction.find([message.id for message in messages]))
            failed: dict[str, Exception] = {}
            new: dict[str, tuple[Envelope[Message], Handled]] = {}
            for message, row in zip(messages, rows, strict=True):
                if message.id not in known:
                    new.setdefault(message.id, (message, row))
                if not row.same(known.get(message.id) or new[message.id][1]):
                    raise Unprocessable("ID_REUSED")
            if new:
                replies = await self.subscription.handle([message for message, _ in new.values()])
                for (message, row), reply in zip(new.values(), replies, strict=True):
                    if isinstance(reply, Exception):
                        failed[message.id] = reply
                    else:
                        known[message.id] = row.answered(
                            postings(message, reply, self.subscription)
                        )
                await transaction.record([known[id] for id in new if id in known])
            crash_here("U2")
        answers = {m.id: failed.get(m.id) or known[m.id].replies for m in messages}
        return [m if isinstance(m, Exception) else answers[m.id] for m in read]

    async def published(
        self, deliveries: Sequence[Delivery], answers: Sequence[Answer]
    ) -> list[Outcome]:
        """Publish what was answered. A reply that was published before is as good as published."""
        together = [p for each in answers if not isinstance(each, Exception) for p in each]
        with publishing(together):
            receipts = iter(await self.broker.publish(together) if together else [])
        outcomes: list[Outcome] = []
        with counting(self.subscription) as outcome_of:
            for delivery, each in zip(deliveries, answers, strict=True):
                if isinstance(each, Exception):
                    outcomes += await self.decided(each, [delivery])
                else:
                    outcomes.append(outcome_of(delivery, each, receipts))
        return outcomes

    async def decided(self, error: Exception, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Ask the policy. Failures are counted where a killed broker cannot forget them."""
        log.warning("not handled", **shown(error))
        policy, durable = self.subscription.policy, self.subscription.durable
        ids = [id_of(delivery) for delivery in deliveries]
        attempts: Sequence[int] = [0] * len(ids)
        try:
            if is_away(error):
                self.breaker.down()
            if not counts(error):
                await self.inbox.released(durable, ids)
            elif not isinstance(error, Unprocessable):
                attempts = await self.inbox.failed(durable, ids, deliveries[0].attempt)
                self.breaker.failed()
        except DependencyDown as away:
            self.breaker.down()
            error = away
        return [policy.decide(error, attempt) for attempt in attempts]

    async def settle_each(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]
    ) -> None:
        """Settle what is done with at once, and the dead letters, which take longer, together."""
        async with asyncio.TaskGroup() as setting_aside:
            for delivery, outcome in zip(deliveries, outcomes, strict=True):
                settling = self.settle(delivery, outcome)
                if isinstance(outcome, DeadLetter):
                    setting_aside.create_task(settling)
                else:
                    await settling

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Carry out what was decided. A dead letter is stored before the broker lets go of it.

        If the broker is away it will deliver again, and the inbox will know.
        """
        try:
            match outcome:
                case Ack():
                    await delivery.ack()
                case Retry(after):
                    await delivery.nak(after)
                case DeadLetter(reason):
                    await self.set_aside(delivery, reason)
                    await delivery.term(reason)
        except (BrokerUnavailable, StreamFull, DependencyDown) as error:
            log.warning("not settled, will come again", error=str(error))

    async def set_aside(self, delivery: Delivery, reason: str) -> None:
        """Store a dead letter, if there is not one already, and let a redrive begin anew."""
        await set_aside(self.broker, delivery, self.subscription, reason, self.version)
        await self.inbox.forget(self.subscription.durable, id_of(delivery))
        DEAD_LETTERS.labels(*labels_of(self.subscription), reason).inc()
        log.error("set aside", reason=reason, message_id=id_of(delivery))

    async def fetch(self, pull: Pull, up_to: int, stopping: asyncio.Event) -> Sequence[Delivery]:
        """Fetch, and let a batch that may wait fill up. A durable that is gone is no silence."""
        try:
            return await filled(pull, up_to, self.subscription, stopping)
        except DurableGone as error:
            log.error("cannot consume", error=str(error))
            await told(stopping, within=FETCH_WAIT)
            return []
