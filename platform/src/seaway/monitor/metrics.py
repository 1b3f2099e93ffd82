"""What the monitor exports.

A value is that of the last look, or the last complete audit: two timestamps say when that was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import Gauge

from seaway.audit import Kind, Report
from seaway.monitor.looking import Sight
from seaway.monitor.pace import Pace
from seaway.topology import FoundStream

NO_LIMIT = float("inf")

LAG = Gauge(
    "seaway_lag_seconds",
    "How long ago the oldest message was stored that a durable has not settled, by the broker's"
    " clock; 0: nothing waits.",
    ("durable",),
)
PENDING = Gauge(
    "seaway_pending_messages", "Messages stored that a durable has not settled.", ("durable",)
)
DRAIN = Gauge(
    "seaway_drain_seconds",
    "In how long it will have settled them, at the rate of the last minute, if nothing else"
    " comes; +Inf: nothing was settled in the last minute, NaN: seen once.",
    ("durable",),
)
ACK_PENDING = Gauge(
    "seaway_ack_pending_messages", "Of those, the ones that were delivered.", ("durable",)
)
MAX_ACK_PENDING = Gauge(
    "seaway_max_ack_pending_messages",
    "How many of those there may be; at that many the broker delivers no more.",
    ("durable",),
)
REDELIVERED = Gauge(
    "seaway_redelivered_messages",
    "Of those, the ones that were delivered more than once.",
    ("durable",),
)
PULLED = Gauge(
    "seaway_durable_pulled",
    "1 if somebody has fetched, or waited for messages, in the last minute; 0: no replica of its"
    " service runs.",
    ("durable",),
)
LETTERS = Gauge(
    "seaway_dead_letter_messages", "Dead letters that wait for a person.", ("durable",)
)
STREAM_MESSAGES = Gauge("seaway_stream_messages", "Messages that a stream keeps.", ("stream",))
STREAM_BYTES = Gauge("seaway_stream_bytes", "Bytes that a stream keeps.", ("stream",))
STREAM_MAX_BYTES = Gauge(
    "seaway_stream_max_bytes",
    "Bytes that it may keep, +Inf: no limit; from 80 % on the gateway accepts nobody.",
    ("stream",),
)
STREAM_MAX_AGE = Gauge(
    "seaway_stream_max_age_seconds",
    "The age at which a message is deleted, handled or not, +Inf: never; more than the longest"
    " outage.",
    ("stream",),
)
LOOKED = Gauge(
    "seaway_looked_timestamp_seconds",
    "When the broker was last looked at; all that is said of durables and streams is of then.",
)

UNACCOUNTED = Gauge(
    "seaway_unaccounted_messages",
    "Differences that the last audit found, in its words; `durable`, or service for its rows.",
    ("durable", "kind"),
)
FORGOTTEN = Gauge(
    "seaway_forgotten_messages",
    "Messages that the last audit read, and of which nothing is kept on purpose; `durable`, or"
    " service for its rows.",
    ("durable",),
)
AUDITED = Gauge("seaway_audit_timestamp_seconds", "When the last complete audit began.")
AUDIT_SECONDS = Gauge("seaway_audit_seconds", "How long the last complete audit took.")
AUDIT_MESSAGES = Gauge("seaway_audit_messages", "How many messages it read.")
ANSWERED = Gauge(
    "seaway_audit_answered", "1 if a service has answered the audit's last question.", ("service",)
)

OF_DURABLES = (*(LAG, PENDING, DRAIN, ACK_PENDING, MAX_ACK_PENDING, REDELIVERED, PULLED, LETTERS),)
OF_STREAMS = (STREAM_MESSAGES, STREAM_BYTES, STREAM_MAX_BYTES, STREAM_MAX_AGE)


def show_sight(sight: Sight, paces: Mapping[str, Pace]) -> None:
    """Export what was seen; a durable or stream that is there no more is left out."""
    for gauge in (*OF_DURABLES, *OF_STREAMS):
        gauge.clear()
    for name, stream in sight.streams.items():
        _show_stream(name, stream)
    for name, backlog in sight.backlogs.items():
        durable = backlog.durable
        LAG.labels(name).set(backlog.lag)
        PENDING.labels(name).set(backlog.unsettled)
        DRAIN.labels(name).set(paces[name].drain)
        ACK_PENDING.labels(name).set(durable.ack_pending)
        MAX_ACK_PENDING.labels(name).set(durable.config.get("max_ack_pending", NO_LIMIT))
        REDELIVERED.labels(name).set(durable.redelivered)
        PULLED.labels(name).set(paces[name].is_pulled)
    for name in sight.backlogs.keys() | sight.letters.keys():
        LETTERS.labels(name).set(sight.letters.get(name, 0))
    LOOKED.set(sight.at.timestamp())


def show_report(report: Report, began: datetime, took: float) -> None:
    """Export what a complete audit came to, every kind of difference that there could be."""
    UNACCOUNTED.clear()
    FORGOTTEN.clear()
    for durable in filter(None, report.pending):  # "": commands to which nobody listens
        for kind in Kind:
            UNACCOUNTED.labels(durable, kind)
        FORGOTTEN.labels(durable)
    for name, count in report.forgotten.items():
        FORGOTTEN.labels(name).set(count)
    found = Counter((difference.durable, difference.kind) for difference in report.differences)
    for (durable, kind), count in found.items():
        UNACCOUNTED.labels(durable, kind).set(count)
    AUDITED.set(began.timestamp())
    AUDIT_SECONDS.set(took)
    AUDIT_MESSAGES.set(report.messages)


def show_answers(services: Iterable[str], silent: Iterable[str]) -> None:
    """Export who has answered, and who has not."""
    for service in services:
        ANSWERED.labels(service).set(service not in silent)


def _show_stream(name: str, stream: FoundStream) -> None:
    most, age = stream.config.get("max_bytes", -1), stream.config.get("max_age", 0)
    STREAM_MESSAGES.labels(name).set(stream.messages)
    STREAM_BYTES.labels(name).set(stream.bytes)
    STREAM_MAX_BYTES.labels(name).set(most if most > 0 else NO_LIMIT)
    STREAM_MAX_AGE.labels(name).set(age / 1e9 if age else NO_LIMIT)
