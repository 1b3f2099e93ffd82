"""The SDK, which only who records needs: it comes with seaway[tracing]."""

import logging
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# It tries again for ten seconds, and would say so each time.
logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)

MOST_LINKS = 1000
"""As many as the largest batch has messages; the SDK's own limit is 128."""


def provider(service: str, version: str) -> TracerProvider:
    """Begin to record, as OTEL_* say. Raises ValueError for what they cannot say."""
    ours = Resource.create({"service.name": service, "service.version": version})
    unsaid = "OTEL_SPAN_LINK_COUNT_LIMIT" not in os.environ
    made = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()),
        span_limits=SpanLimits(max_links=MOST_LINKS) if unsaid else None,
        shutdown_on_exit=False,  # it would wait for as long as whoever takes spans is away
    )
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(made)
    return made
