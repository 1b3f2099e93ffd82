"""A client that does not give up: it asks again, and resumes, until there is an answer."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc.aio import UnaryStreamCall
from grpc_status import rpc_status

CONNECT_AGAIN = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
TRY_AGAIN_AFTER = 0.2
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # Not our word, as one that we cancel ends with no error here: gRPC's core says it of a call
    # that comes just as a server stops (grpc/grpc#41785), and nobody has handled it.
    grpc.StatusCode.CANCELLED,
}


class Refused(Exception):
    """The gateway says no, and will say so again. `lines` say why, for a person."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


@dataclass(slots=True)
class Client:
    """Signs one person up, however often that has to be asked."""

    target: str
    request: api.SignUpRequest
    credentials: grpc.ChannelCredentials | None = None
    """Whom we trust, and who we are. None: nobody asks, and nothing is encrypted."""
    said: str = "no answer yet"
    """Why there is no answer yet, for a person."""
    _seen: int = field(default=0, init=False)

    async def updates(self) -> AsyncGenerator[api.SignUpUpdate]:
        """Yield each update once, up to the end; whoever calls sets the limit of time.

        Raises Refused.
        """
        async with self._channel() as channel:
            while True:
                call = self._ask(channel)
                try:
                    async for update in call:
                        if int(update.resume_token or 0) > self._seen:
                            self._seen = int(update.resume_token)
                            yield update
                    return
                except grpc.aio.AioRpcError as error:
                    pause = self._pause(error)
                await asyncio.sleep(pause)

    def _channel(self) -> grpc.aio.Channel:
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options=CONNECT_AGAIN)
        return grpc.aio.secure_channel(self.target, self.credentials, options=CONNECT_AGAIN)

    def _ask(self, channel: grpc.aio.Channel) -> "UnaryStreamCall[Any, api.SignUpUpdate]":
        stub, request = SignUpServiceStub(channel), self.request
        if not self._seen or request.reveal_taken:
            # Asking again is the same request; and only this one may reveal.
            return stub.SignUp(request)
        resuming = api.WatchSignUpRequest(
            request_id=request.request_id, resume_token=str(self._seen), until=request.until
        )
        return stub.WatchSignUp(resuming)

    def _nobody(self) -> str:
        tls = ", or none that we trust and that trusts us" if self.credentials else ""
        return f"no gateway at {self.target}{tls}"

    def _pause(self, error: grpc.aio.AioRpcError) -> float:
        """Return how long to wait before asking again. Raises Refused if there is no point."""
        details = {type(detail): detail for detail in details_of(error)}
        # Without details it does not come from a gateway, and its text is about sockets.
        self.said = str(error.details()) if details else self._nobody()
        if error.code() not in PASSING:
            violated = details.get(BadRequest)
            fields = violated.field_violations if violated else ()
            raise Refused(
                [f"{f.field}: {f.description}" for f in fields] or [str(error.details())]
            )
        retry = details.get(RetryInfo)
        return retry.retry_delay.ToNanoseconds() / 1e9 if retry else TRY_AGAIN_AFTER


def credentials(
    ca: Path | None, certificate: Path | None, key: Path | None
) -> grpc.ChannelCredentials:
    """Return whom a client trusts (the system's authorities, by default), and who it is."""
    read = [file.read_bytes() if file else None for file in (ca, key, certificate)]
    return grpc.ssl_channel_credentials(*read)


def details_of(error: grpc.aio.AioRpcError) -> Iterator[Any]:
    """Yield what an error says for programs, as far as we know the type."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        for known in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(known.DESCRIPTOR):
                detail = known()
                packed.Unpack(detail)
                yield detail
