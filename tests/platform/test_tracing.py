"""Where a trace goes on, and what is done when nobody records. Real spans: test_traces.py."""

import subprocess
import sys

import pytest
from acme.users.v1 import CreateUserConfirmed
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from seaway.envelope import Envelope
from seaway.errors import SettingsError
from seaway.outcome import Ack
from seaway.tracing import creating, opening, publishing, recording, settled, trace_id
from seaway.tracing.traceparent import is_sampled, place_of, sampled
from workers import a_request, confirmed

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED, LEFT_OUT = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
NOT_INSTALLED = """
import sys
sys.modules["opentelemetry.sdk"] = None
from seaway.tracing import recording
with recording("a", "0"):
    print("runs")
"""


@pytest.fixture
def told(monkeypatch):
    """Where to send spans, in the environment; nobody is there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    return monkeypatch.setenv


def test_a_header_says_of_which_trace_and_whether_that_is_recorded():
    context = place_of(RECORDED)
    assert (trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)) == (
        TRACE,
        SPAN,
    )
    assert is_sampled(context)
    assert not is_sampled(place_of(LEFT_OUT))
    assert place_of(LEFT_OUT).is_valid
    random_and_recorded = f"00-{TRACE}-{SPAN}-03"
    assert len(sampled([LEFT_OUT, RECORDED, random_and_recorded])) == 2


def test_a_message_leads_to_its_own_trace_wherever_it_is_counted():
    with trace.use_span(trace.NonRecordingSpan(place_of(RECORDED))):
        assert trace_id() == trace_id(RECORDED) == TRACE
        assert trace_id(LEFT_OUT) == trace_id("") == ""


@given(st.text())
def test_whatever_a_stranger_sends_is_at_most_no_trace(text):
    assert not place_of(text).is_valid
    assert sampled([text]) == []


def test_while_nobody_records_a_header_is_handed_on_and_nothing_else_is_done():
    for header in ("", LEFT_OUT, RECORDED):
        cause = Envelope.opening(a_request(), "test", header)
        with opening(cause) as traced:
            assert traced == cause
        reply = cause.reply(confirmed(cause), "durable")
        assert isinstance(reply.body, CreateUserConfirmed)
        assert creating(reply) == reply
        with publishing([reply.posting()]):
            assert trace_id() == ""
    settled(trace.get_current_span(), [Ack()])


def test_without_an_endpoint_nothing_is_recorded(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")  # it would be refused
    with recording("a", "0"):
        pass


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")]
)
def test_with_one_it_can_still_be_turned_off(told, name, value):
    told(name, value)
    told("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with recording("a", "0"):
        pass


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "only http/protobuf"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", r"OTEL_\*: "),
    ],
)
def test_what_cannot_work_is_an_error_of_the_settings(told, name, value, said):
    told(name, value)
    with pytest.raises(SettingsError, match=said), recording("a", "0"):
        pytest.fail("it began")


def test_a_service_without_the_extra_runs_and_says_that_it_is_not_traced():
    done = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED],
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "runs" in done.stdout
    assert "seaway[tracing] is not installed" in done.stdout
