"""The web port: Connect and gRPC-Web at `/<service>/`, and a site for everything else."""

import asyncio
import re
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Self

import uvicorn
from google.protobuf.descriptor import ServiceDescriptor
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seaway.errors import SettingsError
from seaway.health import Server
from seaway.rpc.calls import Calls
from seaway.rpc.certificates import Certificates
from seaway.rpc.connect import PEER, ConnectApplication
from seaway.rpc.limits import Limits
from seaway.rpc.server import GRACE
from seaway.rpc.web_connection import CERTIFICATE, WebConnection

ASKED_WITH = (
    *("connect-protocol-version", "connect-timeout-ms", "content-type", "grpc-timeout"),
    *("traceparent", "x-grpc-web", "x-user-agent"),
)
ANSWERED_WITH = ("grpc-message", "grpc-status", "grpc-status-details-bin")
A_DAY = 86_400

NOWHERE = PlainTextResponse("nothing is here\n", status_code=404)
PLAIN_GRPC = re.compile(rb"application/grpc(?!-web)", re.IGNORECASE)
NO_GRPC = PlainTextResponse("gRPC has a port of its own\n", 415)
"""It needs trailers, which HTTP/1.1 has not here: the library would fail, and log all of it."""
TOO_MUCH = PlainTextResponse("the headers are too large\n", 431, {"connection": "close"})


class WebServer:
    """Serves servicers to browsers for as long as its context lasts; port 0 takes a free one.

    The deadlines, limits and counts are those of gRPC. At the end streams end first, so that their
    clients resume elsewhere, and calls in hand have 20 s. Pages of `origins` may call, too; all
    others only if they come from here.
    """

    def __init__(
        self,
        servicers: Mapping[ServiceDescriptor, object],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        origins: Collection[str] = (),
        site: ASGIApp = NOWHERE,
        certificates: Certificates | None = None,
    ) -> None:
        self.port = port
        self._host = host
        self._limits = limits or Limits()
        self._calls = Calls(self._limits)
        self._services = [[service.full_name] for service in servicers]
        self._site = site
        self._certificates = certificates
        self._server = Server(self._configuration())
        self._serving: asyncio.Task[None] | None = None
        self._rpc = CORSMiddleware(
            ConnectApplication(servicers, self._calls, self._limits),
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=ASKED_WITH,
            expose_headers=ANSWERED_WITH,
            max_age=A_DAY,
        )

    async def __aenter__(self) -> Self:
        """Begin to serve. Raises SettingsError if the port is taken, or a certificate unusable."""
        if self._certificates is not None:
            self._certificates.current()
        try:
            listening = socket.create_server((self._host, self.port), reuse_port=False)
        except OSError as error:
            raise SettingsError(f"cannot serve on {self._host}:{self.port}") from error
        self.port = listening.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._calls.stop()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def serves(self) -> bool:
        """Whether it takes connections now."""
        return self._server.started and self._serving is not None and not self._serving.done()

    def _configuration(self) -> uvicorn.Config:
        limits, certificates = self._limits, self._certificates
        return uvicorn.Config(
            self._answer,
            interface="asgi3",
            http=partial(WebConnection, limits),  # type: ignore[arg-type]  # it is only called
            ssl_context_factory=(lambda *_: certificates.for_web()) if certificates else None,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # a line for each malformed request would be anybody's to write
            server_header=False,
            proxy_headers=False,  # a client says where it comes from, and nobody vouches for it
            limit_concurrency=limits.calls or None,
            h11_max_incomplete_event_size=limits.metadata_bytes,
            timeout_graceful_shutdown=int(GRACE),
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > self._limits.metadata_bytes:
            await TOO_MUCH(scope, receive, send)
        elif any(name == b"content-type" and PLAIN_GRPC.match(value) for name, value in headers):
            await NO_GRPC(scope, receive, send)
        elif scope["path"].split("/", 2)[1:2] in self._services:
            # Headers of a call are ASCII; others are nobody's.
            scope["headers"] = [pair for pair in headers if pair[1].isascii()]
            PEER.set(scope.get("state", {}).get(CERTIFICATE))
            exchange = Exchange(scope, receive, send, self._limits.call_seconds)
            await self._rpc(scope, exchange.receive, exchange.send)
        else:
            await self._site(scope, receive, send)


class Exchange:
    """A request, which has to be whole after so many seconds, and an answer that nobody keeps."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._until = asyncio.get_running_loop().time() + seconds
        names = {name for name, _ in scope["headers"]}
        self._is_whole = names.isdisjoint({b"content-length", b"transfer-encoding"})

    async def receive(self) -> Message:
        """Return the next part of the request. Who is too slow is taken for gone."""
        message: Message = {"type": "http.disconnect"}
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if self._is_whole else self._until):
                message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._is_whole = True  # now it waits for the answer, as long as that takes
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer. One to half a request is the connection's last."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["cache-control"] = "no-store"
            headers["x-content-type-options"] = "nosniff"
            if not self._is_whole:
                headers["connection"] = "close"
        await self._send(message)
