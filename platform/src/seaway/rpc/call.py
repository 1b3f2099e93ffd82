"""One RPC from its beginning to its status: counted, timed, and every error translated."""

import asyncio
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from prometheus_client import Counter, Gauge, Histogram

from seaway.contract import KEY
from seaway.errors import BrokerUnavailable, StreamFull
from seaway.rpc.refusal import CORRELATION_ID, Refusal, new_correlation_id, unavailable
from seaway.telemetry import LONG, exemplar
from seaway.telemetry import SECONDS as BUCKETS
from seaway.tracing import answered, answering

log = structlog.get_logger("seaway.rpc")

LABELS = ("grpc_type", "grpc_service", "grpc_method")
STARTED = Counter("grpc_server_started", "RPCs begun.", LABELS)
HANDLED = Counter("grpc_server_handled", "RPCs ended.", (*LABELS, "grpc_code"))
SECONDS = Histogram(
    "grpc_server_handling_seconds", "How long RPCs took.", LABELS, buckets=(*BUCKETS, *LONG)
)
OPEN = Gauge("seaway_streams_active", "Streams that are open.", LABELS)

PROBES = "grpc.health.v1.Health"
"""Not traced: they would be most of all calls."""
LATE = grpc.StatusCode.DEADLINE_EXCEEDED
TOO_LATE = Refusal(LATE, "TOO_LATE", "the time was over before it was done", retry_after=1.0)
RESUME = unavailable("RESUME", "this stream is as old as it may get: call again", 0.1)
BROKER_AWAY = unavailable("BROKER_UNAVAILABLE", "not accepted as far as we know: try again")
FULL = unavailable("STREAM_FULL", "no room for new requests now: try again later", 30.0)

type ServicerContext = grpc.aio.ServicerContext[Message, Message]


def introduce(method: MethodDescriptor) -> None:
    """Make every series of a method exist, at zero."""
    labels = _labels(method)
    for metric in (STARTED, SECONDS, *([OPEN] if method.server_streaming else [])):
        metric.labels(*labels)
    for code in grpc.StatusCode:
        HANDLED.labels(*labels, _name(code))


@dataclass(slots=True)
class Call:
    """The frame around what a servicer does. Enter it before the deadline, leave it after."""

    method: MethodDescriptor
    request: Message
    context: ServicerContext
    deadline: asyncio.Timeout
    labels: tuple[str, str, str] = field(init=False)
    began: float = field(init=False)
    span: ExitStack = field(default_factory=ExitStack)

    async def __aenter__(self) -> Self:
        self.labels = _labels(self.method)
        _, service, name = self.labels
        if service != PROBES:
            metadata = self.context.invocation_metadata() or ()
            self.span.enter_context(answering(f"{service}/{name}", metadata))
        self.began = time.monotonic()
        STARTED.labels(*self.labels).inc()
        if self.method.server_streaming:
            OPEN.labels(*self.labels).inc()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.span:
            await self._ended(error)

    async def _ended(self, error: BaseException | None) -> None:
        match error:
            case None:
                self._count(grpc.StatusCode.OK)
            case Refusal():
                await self._end(error)
            case TimeoutError() if self.deadline.expired():
                await self._end(RESUME if self.method.server_streaming else TOO_LATE)
            case BrokerUnavailable():
                await self._end(BROKER_AWAY)
            case StreamFull():
                await self._end(FULL)
            case grpc.aio.BaseError():
                # gRPC ended it: an abort by the servicer, or a client that is gone.
                self._count(grpc.StatusCode.ABORTED)
            case Exception():
                await self._end(self._unexpected(error))
            case _:
                # The client left, or its deadline passed: nobody is there to be answered.
                self._count(grpc.StatusCode.CANCELLED)

    async def _end(self, refusal: Refusal) -> None:
        self._count(refusal.code)
        await self.context.abort_with_status(refusal.status(_conversation(self.request)))

    def _count(self, code: grpc.StatusCode) -> None:
        HANDLED.labels(*self.labels, _name(code)).inc()
        answered(code.name)
        SECONDS.labels(*self.labels).observe(time.monotonic() - self.began, exemplar())
        if self.method.server_streaming:
            OPEN.labels(*self.labels).dec()

    def _unexpected(self, error: Exception) -> Refusal:
        id = _conversation(self.request) or new_correlation_id()
        # Its text may hold personal data, so the log says where it was, not what it said.
        where = [
            f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
        ]
        log.error("an RPC failed", correlation_id=id, error=type(error).__name__, where=where[-8:])
        said = f"something went wrong here; whoever runs this finds it under {id}"
        internal = grpc.StatusCode.INTERNAL
        return Refusal(internal, "INTERNAL", said, metadata={CORRELATION_ID: id})


def _conversation(request: Message) -> str:
    """Return the id of the conversation that a request is about, if it is one: see AIP-155."""
    said = getattr(request, "request_id", "")
    return said if isinstance(said, str) and KEY.fullmatch(said) else ""


def _labels(method: MethodDescriptor) -> tuple[str, str, str]:
    kind = "server_stream" if method.server_streaming else "unary"
    return (kind, method.containing_service.full_name, method.name)


def _name(code: grpc.StatusCode) -> str:
    return "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
