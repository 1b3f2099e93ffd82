"""How a message is read, and what it is answered with: for the inbox, and for the broker."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import structlog
from google.protobuf.message import Message

from seaway.broker import Conflict, Delivery, Posting, Receipt
from seaway.contract import installed_types
from seaway.envelope import Envelope, decode
from seaway.errors import Unprocessable
from seaway.inbox import Handled
from seaway.service import Caused, Subscription
from seaway.telemetry import PUBLISHED, STAGE, exemplar
from seaway.tracing import creating

log = structlog.get_logger("seaway.consumer")

type Answer = tuple[Posting, ...] | Exception
"""A message's replies; or, if it failed and others of its batch did not, its error."""


def decoded(delivery: Delivery, subscription: Subscription) -> Envelope[Message] | Unprocessable:
    """Read a delivery as the type that it says it is; or return why nobody can."""
    type_ = installed_types().get(delivery.headers.get("ce-type", ""))
    if type_ not in subscription.messages:
        return Unprocessable("UNKNOWN_TYPE")
    try:
        message = decode(type_, delivery.data, delivery.headers)
    except Unprocessable as why:
        return why
    return replace(message, sequence=delivery.sequence, stored_at=delivery.at)


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
    said = (creating(cause.reply(body, subscription.durable)) for body in bodies)
    answers = tuple(message.posting() for message in said)
    if any(posting.size > posting.most_bytes for posting in answers):
        raise Unprocessable("REPLY_TOO_LARGE")
    return answers


def count(
    posting: Posting, answer: Receipt | Conflict, cause: Delivery, subscription: Subscription
) -> bool:
    """Count an answer of the broker, and say whether our reply is the one that it keeps."""
    message = posting.headers["ce-type"].rpartition(".")[2]
    match answer:
        case Receipt(repeated=repeated):
            outcome = "repeated" if repeated else "stored"
        case Conflict(stored) if stored.headers.get("ce-id") == posting.headers["ce-id"]:
            outcome = "repeated"
        case Conflict(stored):
            outcome = "conflict"
            log.error("another outcome is stored", ours=posting.subject, theirs=stored.subject)
    _published(subscription.service, message, outcome).inc()
    if outcome == "stored":
        traced = posting.headers.get("traceparent", "")
        took = max(0.0, (datetime.now(UTC) - cause.at).total_seconds())
        _stage(subscription.service, message).observe(took, exemplar(traced))
    return outcome != "conflict"


# The client of Prometheus takes a lock and builds a key to find a series, for each message.
_published = cache(PUBLISHED.labels)
_stage = cache(STAGE.labels)
