"""What a process measures, and that it is there before anything has happened."""

import asyncio
import re
import time
from urllib.request import Request, urlopen
from uuid import uuid4

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from seaway import Service
from seaway.breaker import Breaker
from seaway.health import Health, serving
from seaway.jetstream import JetStream
from seaway.process.loop_lag import loop_lag
from seaway.telemetry import (
    LOOP_LAG,
    REASONS,
    BatchHistogram,
    causes,
    exemplar,
    introduce,
    introduce_process,
)
from seaway.testing import nats_server, running
from waiting import until


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def test_a_batch_put_into_a_histogram_at_once_is_there_as_if_one_by_one():
    amounts = [0.5, 1, 1.0, 1.5, 2, 7, 1_000_000, 0]  # on a bound, between two, beyond them all
    told = []
    for kind in (BatchHistogram, Histogram):
        registry = CollectorRegistry()
        series = kind("took", "A while.", ("by",), buckets=(1, 2, 5), registry=registry).labels(
            "x"
        )
        if kind is BatchHistogram:
            series.observe_all(amounts)
            series.observe_all([])
        else:
            for amount in amounts:
                series.observe(amount)
        told.append([(s.name, s.labels, s.value) for m in registry.collect() for s in m.samples])
    assert told[0] == told[1]
    assert len(told[0]) == 6


def test_what_a_handler_may_cause_is_what_its_signature_says():
    service = Service("counting")

    @service.on(CreateUserRequested)
    async def decide(message) -> CreateUserConfirmed | CreateUserRejected: ...

    @service.on_batch(CreateUserConfirmed)
    async def note(messages) -> list[CreateUserRejected | Exception | None]: ...

    @service.on(CreateUserRejected)
    async def nothing(message) -> None: ...

    caused = [list(causes(subscription.handle)) for subscription in service.subscriptions]
    assert caused == [[CreateUserConfirmed, CreateUserRejected], [CreateUserRejected], []]


def test_every_series_of_a_subscription_is_there_at_zero():
    service = Service("counting-zero")

    @service.on(CreateUserRequested)
    async def decide(message) -> CreateUserConfirmed: ...

    introduce(service.subscriptions[0], Breaker())
    name, message = "counting-zero", "CreateUserRequested"
    ours = {
        "service": name,
        "message": message,
        "durable": "counting-zero-create-user-requested",
    }
    for outcome in ("acked", "retried", "dead_lettered"):
        assert value("seaway_messages_settled_total", **ours, outcome=outcome) == 0
    for reason in REASONS:
        assert value("seaway_dead_letters_total", **ours, reason=reason) == 0
    published = {"service": name, "message": "CreateUserConfirmed"}
    for outcome in ("stored", "repeated", "conflict"):
        assert value("seaway_messages_published_total", **published, outcome=outcome) == 0
    stage = {"service": name, "stage": "CreateUserConfirmed"}
    assert value("seaway_flow_stage_seconds_count", **stage) == 0
    assert value("seaway_breaker_open", **ours) == 0


async def test_a_stage_lasts_from_a_message_to_its_reply_and_a_repeat_is_none():
    service = Service("staging")

    @service.on(CreateUserRequested)
    async def decide(message) -> CreateUserConfirmed:
        asked = message.body
        return CreateUserConfirmed(
            request_id=asked.request_id, user_id="u" * 16, email=asked.email, display_name="Ada"
        )

    ours = {"service": "staging", "stage": "CreateUserConfirmed"}
    async with running(service) as system:
        id = str(uuid4())
        await system.send(
            CreateUserRequested(request_id=id, email="ada@example.org", display_name="Ada")
        )
        assert system.dead_letters == []
        assert value("seaway_flow_stage_seconds_count", **ours) == 1
        assert 0 < value("seaway_flow_stage_seconds_sum", **ours) < 5
        await system.deliver_all_again()
        assert value("seaway_flow_stage_seconds_count", **ours) == 1


async def test_whether_there_is_a_broker_and_how_often_it_came_back_is_told():
    async with nats_server() as server, JetStream(server.url, "connecting") as broker:
        introduce_process("connecting", "1.2.3", broker.connection.up.is_set)
        assert value("seaway_build_info", service="connecting", version="1.2.3") == 1
        assert value("seaway_nats_connected", service="connecting") == 0
        await broker.connected()
        assert value("seaway_nats_connected", service="connecting") == 1
        await server.kill()
        await until(lambda: value("seaway_nats_connected", service="connecting") == 0)
        assert value("seaway_nats_reconnects_total", service="connecting") == 0
        await server.restart()
        await until(lambda: value("seaway_nats_connected", service="connecting") == 1)
        assert value("seaway_nats_reconnects_total", service="connecting") == 1


async def test_a_loop_that_stands_still_is_seen_to():
    def times():
        return value("seaway_event_loop_lag_seconds_count", service="standing-still") or 0

    async with loop_lag("standing-still", ask_every=0.01):
        await until(lambda: times() > 0)
        time.sleep(0.3)  # noqa: ASYNC251 - it is to stand still
        seen = times()
        await until(lambda: times() > seen)
    assert value("seaway_event_loop_lag_seconds_sum", service="standing-still") >= 0.25
    assert value("seaway_event_loop_lag_seconds_bucket", service="standing-still", le="0.1") < (
        times()
    )


async def test_a_figure_leads_to_a_trace_that_is_recorded_and_to_no_other():
    def span(flags):
        return NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=flags))

    assert exemplar() is None
    with use_span(span(TraceFlags(TraceFlags.DEFAULT))):
        assert exemplar() is None
    with use_span(span(TraceFlags(TraceFlags.SAMPLED))):
        assert exemplar() == {"trace_id": f"{0xABC:032x}"}
        LOOP_LAG.labels("traced").observe(0.1, exemplar())
    async with serving(Health(), "127.0.0.1", 0) as port:
        asked = "application/openmetrics-text; version=1.0.0"
        told = await asyncio.to_thread(metrics_of, port, asked)
        plain = await asyncio.to_thread(metrics_of, port, "text/plain")
    [line] = [line for line in told.splitlines() if "trace_id" in line]
    assert re.match(
        r'seaway_event_loop_lag_seconds_bucket\{le="0.1",service="traced"\} 1.0 # ', line
    )
    assert "trace_id" not in plain


def metrics_of(port, form):
    """What is answered to one who wants this form of it."""
    with urlopen(
        Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": form}), timeout=5
    ) as answer:
        return answer.read().decode()
