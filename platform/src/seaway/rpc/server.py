"""gRPC, served: limits, deadlines, health, reflection, and the end of it."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection

from seaway.errors import ContractError, SettingsError
from seaway.messaging.v1 import options_pb2
from seaway.rpc.call import Call, ServicerContext
from seaway.rpc.health import HEALTH, Health, Ready, always
from seaway.rpc.refusal import Refusal

GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may ask of us. Tests and benchmarks raise them by name."""

    request_bytes: int = 16384
    metadata_bytes: int = 8192
    streams_per_connection: int = 20
    calls: int = 2000
    """In hand at the same time, on all connections."""
    call_seconds: float = 5.0
    """The longest that a call with one answer takes."""
    stream_seconds: float = 60.0
    """The longest that a stream lasts. Then it ends with UNAVAILABLE, reason RESUME."""

    def options(self) -> list[tuple[str, int]]:
        """Return them as gRPC knows them, with what else keeps a connection honest."""
        return [
            ("grpc.max_receive_message_length", self.request_bytes),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_connection_age_ms", 1_800_000),
            ("grpc.max_connection_age_grace_ms", 30_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.so_reuseport", 0),
        ]


class RpcServer:
    """Serves servicers for as long as its context lasts; port 0 takes a free one.

    At the end it is not ready first, then streams end so that their clients resume elsewhere,
    and calls in hand have 20 s. Only methods that their .proto calls public are served.
    """

    def __init__(
        self,
        servicers: Mapping[ServiceDescriptor, object],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        ready: Ready = always,
    ) -> None:
        self.port = port
        self._host = host
        self._limits = limits or Limits()
        self._health = Health(ready, {s.full_name for s in servicers})
        self._servicers = {**servicers, HEALTH: self._health}
        self._streams: set[asyncio.Timeout] = set()

    async def __aenter__(self) -> Self:
        """Begin to serve. Raises SettingsError if the port is taken."""
        limits = self._limits
        server = grpc.aio.server(
            options=limits.options(), maximum_concurrent_rpcs=limits.calls or None
        )
        for service, servicer in self._servicers.items():
            handlers = {m.name: self._handler(m, servicer) for m in service.methods}
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            server.add_generic_rpc_handlers((generic,))
        names = [service.full_name for service in self._servicers]
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        try:
            self.port = server.add_insecure_port(f"{self._host}:{self.port}")
        except RuntimeError as error:
            raise SettingsError(f"cannot serve gRPC on {self._host}:{self.port}") from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(self, *_: object) -> None:
        self._health.stopping = True
        for deadline in self._streams:
            deadline.reschedule(0)
        await self._server.stop(GRACE)

    def _handler(
        self, method: MethodDescriptor, servicer: object
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        if method.client_streaming:
            raise ContractError(f"{method.full_name}: client streaming is not served")
        behaviour = getattr(servicer, method.name)
        read = message_factory.GetMessageClass(method.input_type).FromString
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        if not _is_public(method):
            denied = self._answered(method, _denied)
            return grpc.unary_unary_rpc_method_handler(denied, read, write)
        if method.server_streaming:
            streamed = self._streamed(method, behaviour)
            return grpc.unary_stream_rpc_method_handler(streamed, read, write)
        return grpc.unary_unary_rpc_method_handler(self._answered(method, behaviour), read, write)

    def _answered(self, method: MethodDescriptor, behaviour: Any) -> Any:
        async def answer(request: Message, context: ServicerContext) -> Message:
            deadline = asyncio.timeout(self._limits.call_seconds)
            async with Call(method, context, deadline), deadline:
                answered: Message = await behaviour(request, context)
            return answered

        return answer

    def _streamed(self, method: MethodDescriptor, behaviour: Any) -> Any:
        # A health stream tells its client where not to go, so it lasts until we stop.
        longest = None if method.containing_service is HEALTH else self._limits.stream_seconds

        async def stream(request: Message, context: ServicerContext) -> None:
            deadline = asyncio.timeout(longest)
            async with Call(method, context, deadline), deadline:
                self._streams.add(deadline)
                if self._health.stopping:
                    # It came between the end of the others and the last word to the client.
                    deadline.reschedule(0)
                try:
                    # Closed here and now, so that a client that left holds nothing.
                    async with aclosing(behaviour(request, context)) as updates:
                        async for update in updates:
                            await context.write(update)
                finally:
                    self._streams.discard(deadline)

        return stream


def _is_public(method: MethodDescriptor) -> bool:
    return method.containing_service is HEALTH or bool(
        method.GetOptions().Extensions[options_pb2.public]
    )


async def _denied(request: Message, context: ServicerContext) -> Message:
    raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_PUBLIC", "nobody may call this yet")
