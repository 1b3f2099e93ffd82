"""Those who sign up: over a gRPC stream, in one gRPC call, over HTTP. One function for each."""

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import cycle

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub

PER_CONNECTION = 8
"""Clients that share a connection, so that no connection is the limit."""


class Refused(Exception):
    """The server said no, in so many words."""


@asynccontextmanager
async def channels(target, clients):
    """Connections, in turn."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    number = max(1, clients // PER_CONNECTION)
    opened = [grpc.aio.insecure_channel(target, options) for _ in range(number)]
    try:
        yield opened
    finally:
        for channel in opened:
            await channel.close()


@asynccontextmanager
async def stream(target, clients, deadline):
    """SignUp of the public API, to the end: ACCEPTED, CONFIRMED."""
    async with channels(target, clients) as opened:
        stubs = cycle([SignUpServiceStub(channel) for channel in opened])

        async def sign_up(request, accepted=None):
            update = None
            async for update in next(stubs).SignUp(request, timeout=deadline):
                if accepted is not None and update.state == api.STATE_ACCEPTED:
                    accepted()
            _expect(update is not None and update.state == api.STATE_CONFIRMED, update)

        yield sign_up


@asynccontextmanager
async def unary(target, clients, deadline):
    """The same as one call with one answer."""
    async with channels(target, clients) as opened:
        method, form = "/bench.SignUps/SignUp", api.SignUpRequest.SerializeToString
        answer = api.SignUpUpdate.FromString
        calls = cycle([channel.unary_unary(method, form, answer) for channel in opened])

        async def sign_up(request, accepted=None):
            update = await next(calls)(request, timeout=deadline)
            _expect(update.state == api.STATE_CONFIRMED, update)

        yield sign_up


@asynccontextmanager
async def http(target, clients, deadline):
    """A POST on a connection that is kept: by hand, since every HTTP client costs more."""
    host, _, port = target.rpartition(":")
    idle = []

    async def connection():
        return idle.pop() if idle else await asyncio.open_connection(host, int(port))

    async def sign_up(request, accepted=None):
        async with asyncio.timeout(deadline):
            reader, writer = await connection()
            writer.write(_post(request))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        idle.append((reader, writer))
        _expect(head.startswith(b"HTTP/1.1 201"), body)

    try:
        yield sign_up
    finally:
        for _, writer in idle:
            writer.close()


FORMS = {"stream": stream, "unary": unary, "http": http}


def _post(request):
    body = json.dumps(
        {
            "request_id": request.request_id,
            "email": request.email,
            "display_name": request.display_name,
            "locale": request.locale,
        }
    ).encode()
    head = "POST /sign-ups HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _expect(held, said):
    if not held:
        raise Refused(str(said))
