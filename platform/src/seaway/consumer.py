"""The life of a message: fetched, handled, answered, settled.

Read `Consumer.process` first: it is the whole of it. `run` above it feeds it, everything below
is one of its steps, in order.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import batched

import structlog
from google.protobuf.message import Message

from seaway.breaker import Breaker
from seaway.broker import Broker, Conflict, Delivery, Posting, Pull, Receipt
from seaway.contract import installed_types
from seaway.dead_letters import id_of, set_aside
from seaway.envelope import Envelope, decode
from seaway.errors import (
    BrokerUnavailable,
    DependencyDown,
    DurableGone,
    Raced,
    StreamFull,
    Unprocessable,
)
from seaway.failpoints import crash_here, crash_once_sent
from seaway.fetching import FETCH_WAIT, close_when, filled, keep_alive, told
from seaway.inbox import Handled, Inbox
from seaway.outcome import Ack, DeadLetter, Outcome, Retry, counts, is_away
from seaway.service import Caused, Subscription
from seaway.telemetry import DEAD_LETTERS, PUBLISHED, labels_of, observe

log = structlog.get_logger("seaway.consumer")

HANDLE_WITHIN = 30.0
"""Seconds after which a handler is cut off and its messages are tried again."""
MOST_KILLS = 5
"""A message that kills its process more often than this is a dead letter."""


type Answer = tuple[Posting, ...] | Exception
"""A message's replies; or, if it failed and others of its batch did not, its error."""


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

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch and process until `stopping` is set; then finish what is in hand and return.

        Never more is fetched than can be handled at once, because the broker's ack wait runs
        for everything that was fetched. What came too late to be begun goes back at once. While
        a dependency is away nothing is fetched but, now and then, one message to see.
        """
        up_to, at_once = self.subscription.up_to, self.subscription.at_once
        in_hand: set[asyncio.Task[None]] = set()
        async with (
            self.broker.pull(self.subscription.stream.name, self.subscription.durable) as pull,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(close_when(stopping, pull))
            while not await told(stopping, within=self.breaker.pause()):
                if len(in_hand) == at_once or (in_hand and self.breaker.is_open):
                    await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                    continue
                room = 1 if self.breaker.is_open else (at_once - len(in_hand)) * up_to
                deliveries = await self.fetch(pull, room, stopping)
                if not deliveries:
                    self.breaker.idle()
                for batch in batched(deliveries, up_to):
                    task = tasks.create_task(self.in_turn(batch))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)

    async def in_turn(self, deliveries: Sequence[Delivery]) -> None:
        """Process first deliveries as one batch, then repeated ones each alone, the worst last.

        So a message that fails or kills its process takes others with it only once, or as often
        as the subscription allows, and then holds up nobody but itself. If a dependency goes
        away meanwhile, the rest goes back untried.
        """
        until = self.subscription.together_until
        together = [delivery for delivery in deliveries if delivery.attempt <= until]
        alone = [delivery for delivery in deliveries if delivery.attempt > until]
        if len(alone) > 1:
            ids = [id_of(delivery) for delivery in alone]
            trouble = await self.inbox.trouble(self.subscription.durable, ids)
            alone.sort(key=lambda delivery: trouble.get(id_of(delivery), 0))
        waiting = [*together, *alone]
        async with keep_alive(waiting, every=self.subscription.ack_wait / 3):
            for batch in [together, *([delivery] for delivery in alone)]:
                del waiting[: len(batch)]
                if batch is not together and self.breaker.is_open and len(deliveries) > 1:
                    await self.settle(batch[0], Retry(after=self.breaker.pause()))
                elif batch:
                    await self.process(batch)

    async def process(self, deliveries: Sequence[Delivery]) -> None:
        """Handle what was delivered and tell the broker what became of each."""
        crash_here("U1")
        with observe(self.subscription, deliveries) as observation:
            async with keep_alive(deliveries, every=self.subscription.ack_wait / 3):
                outcomes = await self.handled(deliveries)
            crash_here("U4")
            for delivery, outcome in zip(deliveries, outcomes, strict=True):
                await self.settle(delivery, outcome)
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
        message that failed alone nothing is kept, and its error is its answer.
        """
        messages = [self.decoded(delivery) for delivery in deliveries]
        rows = [row_of(m, d) for m, d in zip(messages, deliveries, strict=True)]
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
        return [failed.get(message.id) or known[message.id].replies for message in messages]

    async def published(
        self, deliveries: Sequence[Delivery], answers: Sequence[Answer]
    ) -> list[Outcome]:
        """Publish what was answered. A reply that was published before is as good as published."""
        together = [p for each in answers if not isinstance(each, Exception) for p in each]
        receipts = iter(await self.broker.publish(together) if together else [])
        outcomes: list[Outcome] = []
        for delivery, each in zip(deliveries, answers, strict=True):
            if isinstance(each, Exception):
                outcomes += await self.decided(each, [delivery])
            else:
                fine = [self.counted(posting, next(receipts)) for posting in each]
                outcomes.append(Ack() if all(fine) else DeadLetter("OUTCOME_CONFLICT"))
        return outcomes

    async def decided(self, error: Exception, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Ask the policy. Failures are counted where a killed broker cannot forget them."""
        shown = None if says_it_all(error) else error
        log.warning("not handled", error=type(error).__name__, exc_info=shown)
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

    def counted(self, posting: Posting, answer: Receipt | Conflict) -> bool:
        """Count an answer of the broker, and say whether our reply is the one that it keeps."""
        match answer:
            case Receipt(repeated=repeated):
                outcome = "repeated" if repeated else "stored"
            case Conflict(stored) if stored.headers.get("ce-id") == posting.headers["ce-id"]:
                outcome = "repeated"
            case Conflict(stored):
                outcome = "conflict"
                log.error("another outcome is stored", ours=posting.subject, theirs=stored.subject)
        message = posting.headers["ce-type"].rpartition(".")[2]
        PUBLISHED.labels(self.subscription.service, message, outcome).inc()
        return outcome != "conflict"

    def decoded(self, delivery: Delivery) -> Envelope[Message]:
        """Read a delivery as the type that it says it is. Raises Unprocessable."""
        type_ = installed_types().get(delivery.headers.get("ce-type", ""))
        if type_ not in self.subscription.messages:
            raise Unprocessable("UNKNOWN_TYPE")
        message = decode(type_, delivery.data, delivery.headers)
        return replace(message, sequence=delivery.sequence, stored_at=delivery.at)

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
        keep = partial(keep_alive, every=self.subscription.ack_wait / 3)
        try:
            return await filled(pull, up_to, self.subscription.within, keep, stopping)
        except DurableGone as error:
            log.error("cannot consume", error=str(error))
            await told(stopping, within=FETCH_WAIT)
            return []


def row_of(message: Envelope[Message], delivery: Delivery) -> Handled:
    """Return what the inbox keeps of a message, replies still missing."""
    return Handled(message.id, delivery.sequence, hashlib.sha256(delivery.data).digest())


def postings(
    cause: Envelope[Message], replies: Caused, subscription: Subscription
) -> tuple[Posting, ...]:
    """Return what a handler returned for one message as the broker takes it.

    Raises Unprocessable for what it would not take, before anything of it is kept.
    """
    match replies:
        case None:
            bodies: Sequence[Message] = ()
        case Message():
            bodies = (replies,)
        case _:
            bodies = replies
    answers = tuple(cause.reply(body, subscription.durable).posting() for body in bodies)
    if any(posting.size > posting.most_bytes for posting in answers):
        raise Unprocessable("REPLY_TOO_LARGE")
    return answers


def says_it_all(error: Exception) -> bool:
    """Whether no stack trace is needed to understand it."""
    expected = (Unprocessable, BrokerUnavailable, Raced, TimeoutError)
    return is_away(error) or isinstance(error, expected)
