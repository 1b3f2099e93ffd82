"""Connect and gRPC-Web: the servicers of gRPC, for browsers and for curl.

How these look on the wire is connectrpc's business. What a call may do, and for how long, is that
of `Calls`, as for gRPC: here is only what makes the one look like the other.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, cast, override

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from protobuf.wkt import Any as AnyMessage

from seaway.errors import ContractError
from seaway.rpc.call import ServicerContext
from seaway.rpc.calls import Answer, Calls, Stream
from seaway.rpc.clients import VERIFIED
from seaway.rpc.limits import Limits
from seaway.rpc.refusal import unreadable

type Asked = RequestContext[Message, Message]

PEER: ContextVar[str | None] = ContextVar("the certificate of whoever calls", default=None)
"""It was verified; connectrpc passes nothing of a connection on."""
SAFE = MethodOptions.NO_SIDE_EFFECTS
ANY = "google.protobuf.Any"


class ConnectApplication(ConnectASGIApplication[None]):
    """An ASGI application that answers at `/<service>/<method>`.

    Raises ContractError if there is a method that cannot be served.
    """

    def __init__(
        self, servicers: Mapping[ServiceDescriptor, object], calls: Calls, limits: Limits
    ) -> None:
        endpoints = {
            f"/{service.full_name}/{method.name}": _endpoint(method, servicer, calls)
            for service, servicer in servicers.items()
            for method in service.methods
        }
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            read_max_bytes=limits.request_bytes,
            compressions=(),  # messages are small, and a bomb cannot be sent
            codecs=(Binary(), Json()),
        )

    @property
    @override
    def path(self) -> str:
        return "/"


class WebCall:
    """A call by the web: the part of gRPC's ServicerContext that a servicer may use."""

    def __init__(self, asked: Asked, updates: "asyncio.Queue[Message] | None" = None) -> None:
        self._asked = asked
        self._updates = updates

    def peer(self) -> str:
        """Return who calls, as gRPC would: `ipv4:192.0.2.1:50123`."""
        host, _, port = (self._asked.client_address or "unknown:0").rpartition(":")
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline; None if it has set none."""
        remaining = self._asked.timeout_ms
        return None if remaining is None else max(0.0, remaining / 1000)

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the headers of the request."""
        return tuple(self._asked.request_headers.allitems())

    def auth_context(self) -> Mapping[str, Collection[bytes]]:
        """Return what is known of the other end by its certificate, as gRPC would."""
        certificate = PEER.get()
        return {VERIFIED: [certificate.encode()]} if certificate else {}

    async def write(self, update: Message) -> None:
        """Send an update of a stream, once the one before it has left."""
        assert self._updates is not None  # only streams write
        await self._updates.put(update)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with an error that says all that the status says."""
        raise _error(status)


class Binary:
    """Protobuf's binary form."""

    def name(self) -> str:
        """Return how a content type ends."""
        return "proto"

    def encode(self, message: Message) -> bytes:
        """Write a message."""
        return message.SerializeToString()

    def decode[M: Message](self, data: bytes | bytearray, kind: type[M]) -> M:
        """Read a message. Raises ConnectError without a word of what was read."""
        try:
            return kind.FromString(bytes(data))
        except DecodeError as error:
            raise _unreadable(kind) from error


class Json:
    """Protobuf's JSON form; unknown fields are skipped, as in the binary one."""

    def name(self) -> str:
        """Return how a content type ends."""
        return "json"

    def encode(self, message: Message) -> bytes:
        """Write a message, with the names of proto3's JSON."""
        return json_format.MessageToJson(message, indent=None).encode()

    def decode[M: Message](self, data: bytes | bytearray, kind: type[M]) -> M:
        """Read a message. Raises ConnectError without a word of what was read."""
        try:
            read = json.loads(data)
            if not isinstance(read, dict):
                raise _unreadable(kind)  # a list would pass for an object without fields
            return json_format.ParseDict(read, kind(), ignore_unknown_fields=True)
        except (json_format.Error, ValueError, TypeError, RecursionError) as error:
            raise _unreadable(kind) from error


def _endpoint(method: MethodDescriptor, servicer: object, calls: Calls) -> Any:
    if _holds_any(method.input_type):
        # Reading Any from JSON has been a way to exhaust the stack more than once.
        raise ContractError(f"{method.full_name}: {ANY} cannot be asked for in JSON")
    info: MethodInfo[Message, Message] = MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=message_factory.GetMessageClass(method.input_type),
        output=message_factory.GetMessageClass(method.output_type),
        idempotency_level=(
            IdempotencyLevel.NO_SIDE_EFFECTS
            if method.GetOptions().idempotency_level == SAFE
            else IdempotencyLevel.UNKNOWN
        ),
        stream_type=StreamType.SERVER_STREAM if method.server_streaming else StreamType.UNARY,
    )
    if method.server_streaming:
        return Endpoint.server_stream(info, _streamed(calls.stream(method, servicer)))
    return Endpoint.unary(info, _answered(calls.answer(method, servicer)))


def _answered(answer: Answer) -> Callable[[Message, Asked], Awaitable[Message]]:
    async def answered(request: Message, asked: Asked) -> Message:
        return await answer(request, cast(ServicerContext, WebCall(asked)))

    return answered


def _streamed(stream: Stream) -> Callable[[Message, Asked], AsyncGenerator[Message]]:
    async def streamed(request: Message, asked: Asked) -> AsyncGenerator[Message]:
        updates: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        context = cast(ServicerContext, WebCall(asked, updates))
        # In a task of its own: a deadline must not be bound to whoever reads a generator.
        writing = asyncio.ensure_future(stream(request, context))
        try:
            while (update := await _next(updates, writing)) is not None:
                yield update
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    return streamed


async def _next(
    updates: "asyncio.Queue[Message]", writing: asyncio.Future[None]
) -> Message | None:
    """Return the next update, or None once all are read and no more will be written."""
    taking = asyncio.ensure_future(updates.get())
    try:
        either: set[asyncio.Future[Any]] = {taking, writing}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else None
    finally:
        taking.cancel()


def _error(status: grpc.Status) -> ConnectError:
    packed = dict(status.trailing_metadata or ()).get("grpc-status-details-bin", b"")
    details = [
        ErrorDetail(AnyMessage(type_url=detail.type_url, value=detail.value))
        for detail in Status.FromString(packed).details
    ]
    code = Code.CANCELED if status.code is grpc.StatusCode.CANCELLED else Code[status.code.name]
    return ConnectError(code, status.details, details)


def _unreadable(kind: type[Message]) -> ConnectError:
    return _error(unreadable(kind).status())


def _holds_any(kind: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    if kind.full_name in seen:
        return False
    inner = [field.message_type for field in kind.fields if field.message_type is not None]
    return kind.full_name == ANY or any(_holds_any(m, seen | {kind.full_name}) for m in inner)
