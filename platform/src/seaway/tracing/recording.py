"""Whether spans are recorded, and the end of it. OpenTelemetry's own settings say how."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from threading import Thread

import structlog
from opentelemetry import trace

from seaway.errors import SettingsError

log = structlog.get_logger("seaway.tracing")

FLUSH_WITHIN = 1.0
"""Seconds that the last spans may take to leave. Whoever takes them never keeps us longer."""


@contextmanager
def recording(service: str, version: str) -> Iterator[None]:
    """Record spans for as long as this lasts, if the environment says where to send them.

    They wait in a queue of limited length and leave in a thread of their own: nobody who takes
    them can hold up the service. Raises SettingsError if it is told how and cannot.
    """
    if not _is_wanted(os.environ):
        yield
        return
    try:
        exporting = import_module("seaway.tracing.exporting")
    except ModuleNotFoundError as missing:
        log.warning("not traced: seaway[tracing] is not installed", missing=missing.name)
        yield
        return
    protocol = _told("PROTOCOL", os.environ) or "http/protobuf"
    if protocol != "http/protobuf":
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r}, only http/protobuf is known"
        )
    try:
        provider = exporting.provider(service, version)
    except ValueError as error:
        raise SettingsError(f"OTEL_*: {error}") from error
    try:
        yield
    finally:
        # Not a task: the loop may be gone, and would wait for the thread of an executor.
        leaving = Thread(target=provider.shutdown, name="last spans", daemon=True)
        leaving.start()
        leaving.join(FLUSH_WITHIN)


def is_on() -> bool:
    """Whether anybody records in this process. It costs a microsecond to ask."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    return bool(_told("ENDPOINT", environment)) and exporter == "otlp" and not disabled


def _told(setting: str, environment: Mapping[str, str]) -> str:
    """Return a setting of the exporter; what is said of traces alone wins."""
    names = (f"OTEL_EXPORTER_OTLP_{kind}{setting}" for kind in ("TRACES_", ""))
    return next((environment[name] for name in names if environment.get(name)), "")
