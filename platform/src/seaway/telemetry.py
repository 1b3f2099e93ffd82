"""What a process tells about itself: metrics, log lines, and where a trace goes on.

The metrics of every process are declared here; the monitor, gRPC and each service have their own.
No label and no log line holds personal data.
"""

import logging
import sys
import time
from bisect import bisect_right
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

import structlog
from google.protobuf.message import Message
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from structlog.typing import EventDict, Processor

from seaway.breaker import Breaker
from seaway.broker import Delivery
from seaway.envelope import Envelope
from seaway.errors import KeyReused
from seaway.outcome import Ack, DeadLetter, Outcome, Retry
from seaway.service import Subscription
from seaway.tracing import processing, settled, trace_id

disable_created_metrics()  # type: ignore[no-untyped-call]  # nobody asks when a series began

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10, 30)
LONG = (60, 300, 3600)
ATTEMPTS = (1, 2, 3, 5, 10)
LABELS = ("service", "message", "durable")
SAID: dict[type[Outcome], str] = {Ack: "acked", Retry: "retried", DeadLetter: "dead_lettered"}
REASONS = (
    *("UNDECODABLE", "INVALID", "BAD_HEADERS", "UNKNOWN_TYPE", "ID_REUSED", "OUTCOME_CONFLICT"),
    *("REPLY_TOO_LARGE", "FAILED_TOO_OFTEN", "KILLS_ITS_PROCESS"),
)
"""The platform's own, of a dead letter. A service adds what it raises."""


class BatchHistogram(Histogram):
    """A histogram that takes a batch at once: one by one costs each message a microsecond."""

    def observe_all(self, amounts: Collection[float]) -> None:
        """Observe each of these amounts."""
        if not amounts:
            return
        self._sum.inc(sum(amounts))
        in_order, below = sorted(amounts), 0
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            up_to = bisect_right(in_order, bound)
            bucket.inc(up_to - below)
            below = up_to
            if below == len(in_order):
                break


PUBLISHED = Counter(
    "seaway_messages_published_total",
    "Messages handed to the broker; `outcome` stored, repeated or conflict.",
    ("service", "message", "outcome"),
)
PUBLISH_SECONDS = Histogram(
    "seaway_publish_seconds",
    "From handed to the broker to answered, however many messages together.",
    ("service",),
    buckets=SECONDS,
)
SETTLED = Counter(
    "seaway_messages_settled_total",
    "Deliveries settled; `outcome` acked, retried or dead_lettered.",
    (*LABELS, "outcome"),
)
HANDLER = Histogram(
    "seaway_handler_seconds",
    "From fetched to settled, a whole batch.",
    LABELS,
    buckets=SECONDS,
)
DELAY = BatchHistogram(
    "seaway_delivery_delay_seconds",
    "From stored to fetched, each first delivery.",
    LABELS,
    buckets=(*SECONDS, *LONG),
)
STAGE = BatchHistogram(
    "seaway_flow_stage_seconds",
    "From a message stored to its reply stored; `stage` is the reply.",
    ("service", "stage"),
    buckets=(*SECONDS, *LONG),
)
IN_PROGRESS = Gauge("seaway_messages_in_progress", "Deliveries in hand.", LABELS)
DEAD_LETTERS = Counter(
    "seaway_dead_letters_total",
    "Messages set aside for a person; `reason` is the code that says why.",
    (*LABELS, "reason"),
)
DELIVERY_ATTEMPTS = BatchHistogram(
    "seaway_delivery_attempts",
    "The attempt at which a delivery was settled for good.",
    LABELS,
    buckets=ATTEMPTS,
)
BREAKER = Gauge(
    "seaway_breaker_open", "1 while a dependency is away and nothing is fetched.", LABELS
)
PURGED = Counter(
    "seaway_messages_purged_total",
    "Messages of which no record is kept any more: they have gone from the stream, long ago.",
    LABELS,
)
CONNECTED = Gauge("seaway_nats_connected", "1 while the broker is there.", ("service",))
RECONNECTS = Counter(
    "seaway_nats_reconnects_total", "How often the broker came back.", ("service",)
)
LOOP_LAG = Histogram(
    "seaway_event_loop_lag_seconds",
    "How much later than it should the event loop does something, asked twice a second.",
    ("service",),
    buckets=(0.001, 0.0025, *SECONDS),
)
BUILD = Gauge("seaway_build_info", "1, with the version as a label.", ("service", "version"))


@dataclass(slots=True)
class Observation:
    """What was seen of one round of deliveries; its outcomes are filled in at the end."""

    outcomes: Sequence[Outcome] = field(default_factory=list)


def labels_of(subscription: Subscription) -> tuple[str, str, str]:
    """Return the labels that every metric of a subscription carries."""
    types = subscription.messages
    message = types[0].DESCRIPTOR.name if len(types) == 1 else "*"
    return (subscription.service, message, subscription.durable)


def introduce_process(service: str, version: str, connected: Callable[[], bool]) -> None:
    """Make every series of a process exist: what it is, and whether it has a broker."""
    BUILD.labels(service, version).set(1)
    CONNECTED.labels(service).set_function(lambda: float(connected()))
    for metric in (RECONNECTS, LOOP_LAG, PUBLISH_SECONDS):
        metric.labels(service)


def introduce(subscription: Subscription, breaker: Breaker) -> None:
    """Make every series of a subscription exist, at zero, so that a rate over it is defined."""
    labels = labels_of(subscription)
    BREAKER.labels(*labels).set_function(lambda: float(breaker.is_open))
    for outcome in SAID.values():
        SETTLED.labels(*labels, outcome)
    for reason in REASONS:
        DEAD_LETTERS.labels(*labels, reason)
    for metric in (HANDLER, DELAY, DELIVERY_ATTEMPTS, IN_PROGRESS, PURGED):
        metric.labels(*labels)
    for reply in causes(subscription.handle):
        introduce_message(subscription.service, reply)
        STAGE.labels(subscription.service, reply.DESCRIPTOR.name)


def introduce_message(service: str, message: type[Message]) -> None:
    """Make the series of a message that a service publishes exist, at zero."""
    for outcome in ("stored", "repeated", "conflict"):
        PUBLISHED.labels(service, message.DESCRIPTOR.name, outcome)


def causes(handler: object) -> Iterator[type[Message]]:
    """Yield the messages that a handler can cause, as its signature says."""
    yield from _messages_in(getattr(handler, "__annotations__", {}).get("return"))


async def counted[F](
    opening: Envelope[Message], storing: Awaitable[tuple[F, bool]]
) -> tuple[F, bool]:
    """Count a message that opens a conversation; return what storing it returned."""
    count = partial(PUBLISHED.labels, opening.source, opening.body.DESCRIPTOR.name)
    try:
        stored, repeated = await storing
    except KeyReused:
        count("conflict").inc()
        raise
    count("repeated" if repeated else "stored").inc()
    return stored, repeated


def exemplar(traceparent: str | None = None) -> dict[str, str] | None:
    """Return what leads from a figure to one trace that it counts; None if nobody records it.

    It is the trace that we are in, or that of a message, by its header.
    """
    traced = trace_id(traceparent)
    return {"trace_id": traced} if traced else None


@contextmanager
def observe(subscription: Subscription, deliveries: Sequence[Delivery]) -> Iterator[Observation]:
    """Measure and trace one round of deliveries, and put what they are into every log line."""
    labels = labels_of(subscription)
    began = time.perf_counter()
    now = datetime.now(UTC)
    DELAY.labels(*labels).observe_all(
        [max(0.0, (now - each.at).total_seconds()) for each in deliveries if each.attempt == 1]
    )
    in_progress = IN_PROGRESS.labels(*labels)
    in_progress.inc(len(deliveries))
    observation = Observation()
    with (
        processing(subscription, deliveries) as span,
        structlog.contextvars.bound_contextvars(**_log_fields(subscription, deliveries)),
    ):
        try:
            yield observation
            settled(span, observation.outcomes)
        finally:
            in_progress.dec(len(deliveries))
            HANDLER.labels(*labels).observe(time.perf_counter() - began, exemplar())
            _count(labels, deliveries, observation.outcomes)


def configure_logging(service: str, level: str, form: str) -> None:
    """Write logs to stdout, one JSON object a line, or for people with `form="console"`."""
    renderer: list[Processor] = (
        # A plain traceback: the richer one shows local variables, and so personal data.
        [
            structlog.dev.ConsoleRenderer(
                colors=False,
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(
                fmt="%H:%M:%S" if form == "console" else "iso", utc=form != "console"
            ),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    if form == "json":
        structlog.contextvars.bind_contextvars(service=service)
    # Libraries log through the standard library: their warnings only, as plain lines.
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(name)s: %(message)s")


def _messages_in(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
    for part in get_args(annotation):
        yield from _messages_in(part)


def _with_trace_id(_: object, __: str, line: EventDict) -> EventDict:
    if traced := trace_id():
        line["trace_id"] = traced
    return line


def _log_fields(
    subscription: Subscription, deliveries: Sequence[Delivery]
) -> dict[str, str | int]:
    fields: dict[str, str | int] = {"durable": subscription.durable}
    match deliveries:
        case [delivery]:
            fields["correlation_id"] = delivery.headers.get("ce-correlationid", "")
            fields["message_id"] = delivery.headers.get("ce-id", "")
        case _:
            fields["messages"] = len(deliveries)
    return fields


def _count(
    labels: tuple[str, str, str], deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]
) -> None:
    for kind, count in Tally(map(type, outcomes)).items():
        SETTLED.labels(*labels, SAID[kind]).inc(count)
    done = zip(deliveries, outcomes, strict=False)
    DELIVERY_ATTEMPTS.labels(*labels).observe_all(
        [delivery.attempt for delivery, outcome in done if not isinstance(outcome, Retry)]
    )
