"""Where a conversation spent its time, from process to process, as OpenTelemetry's spans.

A call is a span, and so is each message that it publishes, each round of deliveries and each
reply. Where a trace goes on travels beside the message, in the header `traceparent`. Nothing is
recorded, and hardly anything done, unless `recording` finds an OTLP endpoint in the environment.
No span holds personal data: ids, subjects, codes and counts, and never the text of an error.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode

from seaway.broker import Delivery, Posting
from seaway.contract import address_of
from seaway.envelope import Envelope
from seaway.outcome import Ack, DeadLetter, Outcome
from seaway.service import Subscription
from seaway.tracing.recording import is_on, recording
from seaway.tracing.traceparent import below, place_of, recorded_here, sampled, traceparent_of

__all__ = [
    "answered",
    "answering",
    "creating",
    "opening",
    "processing",
    "publishing",
    "recording",
    "settled",
    "trace_id",
]

TRACER = trace.get_tracer("seaway")
OUR_FAULT = {
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
}
"""The codes of an RPC that make its span an error; others tell of the caller."""

TYPES = {"publish": "send"}
"""What OpenTelemetry calls an operation, if it is not what we call it."""

type Attributes = dict[str, str | int]


def trace_id(traceparent: str | None = None) -> str:
    """Return the id of the trace that is recorded here, or of a message, by its header.

    Empty if none is. For the exemplar of a metric, and for log lines.
    """
    here = sampled([traceparent]) if traceparent is not None else recorded_here()
    return trace.format_trace_id(here[0].trace_id) if here else ""


@contextmanager
def answering(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[None]:
    """Trace a call of `<service>/<method>`, below the trace that its client names."""
    if not is_on():
        yield
        return
    named = (value for name, value in metadata if name.lower() == "traceparent")
    parent = below(place_of(str(next(named, ""))))
    about: Attributes = {"rpc.system.name": "grpc", "rpc.method": method}
    with TRACER.start_as_current_span(
        method,
        parent,
        SpanKind.SERVER,
        about,
        record_exception=False,
        set_status_on_exception=False,
    ):
        yield


def answered(code: str) -> None:
    """Note with which code the call ends that is being traced."""
    span = trace.get_current_span()
    span.set_attribute("rpc.response.status_code", code)
    if code in OUR_FAULT:
        _fail(span, code)


@contextmanager
def opening[M: Message](message: Envelope[M]) -> Iterator[Envelope[M]]:
    """Trace how a conversation's first message is published. Yields it as it should be."""
    if not is_on():
        yield message
        return
    parent = below(place_of(message.traceparent))
    with _span("publish", SpanKind.PRODUCER, _said(message), parent) as span:
        yield replace(message, traceparent=traceparent_of(span) or message.traceparent)


@contextmanager
def processing(subscription: Subscription, deliveries: Sequence[Delivery]) -> Iterator[Span]:
    """Trace a round of deliveries: below the first that is traced, linked to all that are.

    So a batch is in one trace, and is found from each of the others.
    """
    if not is_on():
        yield trace.INVALID_SPAN
        return
    named = [delivery.headers.get("traceparent", "") for delivery in deliveries]
    traced = sampled(named)
    first = traced[0] if traced else place_of(named[0])
    about: Attributes = {
        "messaging.destination.name": _source(subscription),
        "messaging.consumer.group.name": subscription.durable,
    }
    match deliveries:
        case [delivery]:
            headers = delivery.headers
            about |= _ids(headers.get("ce-id", ""), headers.get("ce-correlationid", ""))
        case _:
            about["messaging.batch.message_count"] = len(deliveries)
    with _span("process", SpanKind.CONSUMER, about, below(first), traced) as span:
        yield span


def settled(span: Span, outcomes: Sequence[Outcome]) -> None:
    """Note what became of a round of deliveries. One that failed makes its span an error."""
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Ack)]
    span.set_attribute("seaway.messages.failed", len(failed))
    match failed:
        case [DeadLetter(reason), *_]:
            _fail(span, reason)
        case [_, *_]:
            _fail(span, "RETRY")


def creating[R: Message](reply: Envelope[R]) -> Envelope[R]:
    """Return a reply with a place of its own in the trace of the message that caused it.

    If that is another trace than the one of the round that we are in, it is linked to it.
    """
    if not (sampled([reply.traceparent]) if reply.traceparent else recorded_here()):
        return reply
    here = trace.get_current_span().get_span_context()
    cause = place_of(reply.traceparent)
    elsewhere = cause.is_valid and cause.trace_id != here.trace_id
    parent, links = (below(cause), [here]) if elsewhere else (None, [])
    with _span("create", SpanKind.PRODUCER, _said(reply), parent, links) as span:
        return replace(reply, traceparent=traceparent_of(span) or reply.traceparent)


@contextmanager
def publishing(postings: Sequence[Posting]) -> Iterator[None]:
    """Trace how replies are stored, all at once; linked to where each was created."""
    if not postings or not recorded_here():
        yield
        return
    about: Attributes = {
        "messaging.destination.name": postings[0].stream,
        "messaging.batch.message_count": len(postings),
    }
    traced = sampled(posting.headers.get("traceparent", "") for posting in postings)
    with _span("publish", SpanKind.CLIENT, about, links=traced):
        yield


@contextmanager
def _span(
    operation: str,
    kind: SpanKind,
    about: Attributes,
    parent: Context | None = None,
    links: Iterable[SpanContext] = (),
) -> Iterator[Span]:
    about["messaging.system"] = "nats"
    about["messaging.operation.name"] = operation
    about["messaging.operation.type"] = TYPES.get(operation, operation)
    with TRACER.start_as_current_span(
        f"{operation} {about['messaging.destination.name']}",
        parent,
        kind,
        about,
        [Link(context) for context in links],
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def _said[M: Message](message: Envelope[M]) -> Attributes:
    """Say where a message goes, without its key: a name that thousands share."""
    destination = address_of(type(message.body)).subject
    ids = _ids(message.id, message.correlation_id)
    return {"messaging.destination.name": destination, **ids}


def _ids(id: str, conversation: str) -> Attributes:
    return {"messaging.message.id": id, "messaging.message.conversation_id": conversation}


def _source(subscription: Subscription) -> str:
    """Return the subject that is listened to, without the key; of many, the stream."""
    match subscription.messages:
        case [message]:
            return address_of(message).subject
    return subscription.stream.name
