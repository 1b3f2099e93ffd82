"""Whoever takes spans: an OTLP receiver over HTTP, in this process, and what it was sent.

with receiver() as spans:
    ... run services with **spans.settings ...
    await until(lambda: spans.named("process users.v1.create-requested"))
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Seen:
    """One span, and who has recorded it."""

    service: str
    span: trace_pb2.Span

    @property
    def name(self):
        return self.span.name

    @property
    def id(self):
        return self.span.span_id.hex()

    @property
    def parent(self):
        return self.span.parent_span_id.hex()

    @property
    def trace(self):
        return self.span.trace_id.hex()

    @property
    def links(self):
        """The ids of the spans that it points to."""
        return [link.span_id.hex() for link in self.span.links]

    @property
    def attributes(self):
        return {
            pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
            for pair in self.span.attributes
        }

    @property
    def failed(self):
        return self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR


@dataclass
class Spans:
    """All that was received, and where to send more."""

    endpoint: str = ""
    seen: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    """Each request as it came."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when somebody has sent something, whether or not he is answered."""

    @property
    def settings(self):
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name, **attributes):
        """Those of a name, and with these attributes (`__` for a dot)."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [s for s in self.seen if s.name == name and wanted.items() <= s.attributes.items()]

    def take(self, body):
        self.raw.append(body)
        for resource in otlp.ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.seen += [Seen(about["service.name"], span) for span in scope.spans]


@contextmanager
def receiver(*, deaf=False):
    """Take spans for as long as this lasts; `deaf`: take them and never answer."""
    spans, over = Spans(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            spans.asked.set()
            if deaf:
                over.wait()
                return
            spans.take(body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        spans.endpoint = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield spans
        finally:
            over.set()
            server.shutdown()
            serving.join()
