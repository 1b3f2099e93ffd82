"""gRPC, served: limits, deadlines, health, reflection, and the end of it."""

from collections.abc import Mapping
from typing import Any, Self

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_reflection.v1alpha import reflection

from seaway.errors import SettingsError
from seaway.rpc.asked import Asked
from seaway.rpc.calls import Calls
from seaway.rpc.certificates import Certificates
from seaway.rpc.health import HEALTH, Health, Ready, always
from seaway.rpc.limits import Limits

GRACE = 20.0


class RpcServer:
    """Serves servicers for as long as its context lasts; port 0 takes a free one.

    At the end it is not ready first, then streams end so that their clients resume elsewhere,
    and calls in hand have 20 s. Only methods that their .proto calls public are served. It shows
    its protos to whoever asks (reflection), and then lets them ask for as long as they like.
    """

    def __init__(
        self,
        servicers: Mapping[ServiceDescriptor, object],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        ready: Ready = always,
        shows_protos: bool = True,
        certificates: Certificates | None = None,
    ) -> None:
        self.port = port
        self._host = host
        self._limits = limits or Limits()
        self._health = Health(ready, {s.full_name for s in servicers}, self._limits.health_streams)
        self._servicers = {**servicers, HEALTH: self._health}
        self._calls = Calls(self._limits)
        self._asked = Asked(self._limits)
        self._shows_protos = shows_protos
        self._certificates = certificates

    async def __aenter__(self) -> Self:
        """Begin to serve. Raises SettingsError if the port is taken, or a certificate unusable."""
        limits = self._limits
        server = grpc.aio.server(
            options=limits.options(), maximum_concurrent_rpcs=limits.calls or None
        )
        for service, servicer in self._servicers.items():
            handlers = {m.name: self._handler(m, servicer) for m in service.methods}
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            server.add_generic_rpc_handlers((generic,))
        if self._shows_protos:
            names = [service.full_name for service in self._servicers]
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        where = f"{self._host}:{self.port}"
        try:
            self.port = (
                server.add_secure_port(where, self._certificates.for_grpc())
                if self._certificates
                else server.add_insecure_port(where)
            )
        except RuntimeError as error:
            raise SettingsError(f"cannot serve gRPC on {where}") from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(self, *_: object) -> None:
        self._health.stopping = True
        self._calls.stop()
        await self._server.stop(GRACE)

    def _handler(
        self, method: MethodDescriptor, servicer: object
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        # As if the client might send several: only then is it us who wait for the first one.
        write = message_factory.GetMessageClass(method.output_type).SerializeToString
        if method.server_streaming:
            streamed: Any = self._asked.before(method, self._calls.stream(method, servicer))
            return grpc.stream_stream_rpc_method_handler(streamed, None, write)
        answered: Any = self._asked.before(method, self._calls.answer(method, servicer))
        return grpc.stream_unary_rpc_method_handler(answered, None, write)
