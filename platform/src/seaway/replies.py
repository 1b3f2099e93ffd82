"""How a message is read, and what it is answered with: for the inbox, and for the broker."""

import hashlib
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog
from google.protobuf.message import Message

from seaway.broker import Conflict, Delivery, Posting, Receipt
from seaway.contract import installed_types
from seaway.envelope import Envelope, decode
from seaway.errors import Unprocessable
from seaway.inbox import Handled
from seaway.outcome import Ack, DeadLetter, Outcome
from seaway.service import Caused, Subscription
from seaway.telemetry import PUBLISHED, STAGE, exemplar
from seaway.tracing import creating

log = structlog.get_logger("seaway.consumer")

type Answer = tuple[Posting, ...] | Exception
"""A message's replies; or, if it failed and others of its batch did not, its error."""
type Answers = Iterator[Receipt | Conflict]
"""Of the broker, to the replies of a batch, in order."""
type Judge = Callable[[Delivery, Sequence[Posting], Answers], Outcome]
"""Takes a delivery, its replies and the answers: its own are the next ones."""


def decoded(delivery: Delivery, subscription: Subscription) -> Envelope[Message] | Unprocessable:
    """Read a delivery as the type that it says it is; or return why nobody can."""
    type_ = installed_types().get(delivery.headers.get("ce-type", ""))
    if type_ not in subscription.messages:
        return Unprocessable("UNKNOWN_TYPE")
    try:
        return decode(type_, delivery.data, delivery.headers, delivery.sequence, delivery.at)
    except Unprocessable as why:
        return why


def row_of(message: Envelope[Message], delivery: Delivery) -> Handled:
    """Return what the inbox keeps of a message, replies still missing."""
    hashed = hashlib.sha256(delivery.data).digest()
    return Handled(message.id, delivery.sequence, hashed, again=delivery.attempt > 1)


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
    said = (creating(cause.reply(body, subscription.durable)) for body in bodies)
    answers = tuple(message.posting() for message in said)
    if any(posting.size > posting.most_bytes for posting in answers):
        raise Unprocessable("REPLY_TOO_LARGE")
    return answers


@contextmanager
def counting(subscription: Subscription) -> Iterator[Judge]:
    """Say what becomes of deliveries whose replies were published, and count the replies.

    A batch is counted at its end, all at once: one by one costs each a few microseconds.
    """
    told: Tally[tuple[str, str]] = Tally()
    took: defaultdict[str, list[float]] = defaultdict(list)
    now = datetime.now(UTC)

    def count(reply: Posting, answer: Receipt | Conflict, cause: Delivery) -> str:
        message, outcome = reply.headers["ce-type"].rpartition(".")[2], kept(reply, answer)
        told[message, outcome] += 1
        if outcome == "stored":
            waited = max(0.0, (now - cause.at).total_seconds())
            if trace := exemplar(reply.headers.get("traceparent", "")):
                STAGE.labels(subscription.service, message).observe(waited, trace)
            else:
                took[message].append(waited)
        return outcome

    def judge(cause: Delivery, replies: Sequence[Posting], answers: Answers) -> Outcome:
        counted = [count(reply, next(answers), cause) for reply in replies]
        return DeadLetter("OUTCOME_CONFLICT") if "conflict" in counted else Ack()

    try:
        yield judge
    finally:
        for (message, outcome), times in told.items():
            PUBLISHED.labels(subscription.service, message, outcome).inc(times)
        for message, amounts in took.items():
            STAGE.labels(subscription.service, message).observe_all(amounts)


def kept(reply: Posting, answer: Receipt | Conflict) -> str:
    """Return what the broker made of a reply: stored, repeated or conflict."""
    match answer:
        case Receipt(repeated=repeated):
            return "repeated" if repeated else "stored"
        case Conflict(stored) if stored.headers.get("ce-id") == reply.headers["ce-id"]:
            return "repeated"
        case Conflict(stored):
            log.error("another outcome is stored", ours=reply.subject, theirs=stored.subject)
            return "conflict"
