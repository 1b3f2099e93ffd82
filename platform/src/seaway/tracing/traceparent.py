"""The W3C's `traceparent`: where a trace goes on, as one header."""

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
W3C = TraceContextTextMapPropagator()
FLAG = 54
"""Where in the header the digit is whose last bit says that a trace is recorded."""
RECORDED = frozenset("13579bdf")


def place_of(traceparent: str) -> SpanContext:
    """Return what a header says. One that says nothing, or nonsense, is not valid."""
    if not traceparent:
        return trace.INVALID_SPAN_CONTEXT
    found = W3C.extract({HEADER: traceparent}, Context())
    return trace.get_current_span(found).get_span_context()


def traceparent_of(span: Span) -> str:
    """Return the header that names a span; empty if there is none."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(HEADER, "")


def below(parent: SpanContext) -> Context | None:
    """Return where a span begins that continues this one; None: where we are."""
    return trace.set_span_in_context(NonRecordingSpan(parent)) if parent.is_valid else None


def is_sampled(context: SpanContext) -> bool:
    """Whether its trace is recorded."""
    return context.is_valid and context.trace_flags.sampled


def sampled(traceparents: Iterable[str]) -> list[SpanContext]:
    """Return those of which the trace is recorded. Of the others hardly more than a digit is read.

    That is most of them, and of a thousand messages each has one.
    """
    found = [place_of(each) for each in traceparents if each[FLAG : FLAG + 1] in RECORDED]
    return [context for context in found if is_sampled(context)]


def recorded_here() -> list[SpanContext]:
    """Return the span that we are in, if its trace is recorded; or none."""
    context = trace.get_current_span().get_span_context()
    return [context] if is_sampled(context) else []
