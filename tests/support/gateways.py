"""Gateways in the event loop of a test, and what other services would say to them."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import override

import grpc
from acme.gateway.v1.sign_up_pb2 import STATE_ACCEPTED, SignUpRequest
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from gateway.door import Door
from gateway.rates import Rates
from gateway.service import SERVICE, SignUps, sign_up_flow
from seaway.contract import address_of
from seaway.envelope import decode
from seaway.flow import Flow
from seaway.rpc import Limits, RpcServer

USERS = address_of(CreateUserRequested).stream


@dataclass
class Gateway:
    server: RpcServer
    flow: Flow

    @property
    def port(self):
        return self.server.port

    @asynccontextmanager
    async def client(self):
        """A connection of its own."""
        local = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", local) as channel:
            yield SignUpServiceStub(channel)


@asynccontextmanager
async def a_gateway(broker, door=None, heartbeat=15.0, port=0, kind=SignUps, **limits):
    async with sign_up_flow(broker) as flow:
        sign_ups = kind(flow, door or open_door(), heartbeat=heartbeat)
        async with RpcServer({SERVICE: sign_ups}, port=port, limits=Limits(**limits)) as server:
            yield Gateway(server, flow)


class CancelsOnce(SignUps):
    """Ends its first call as gRPC's core ends one that comes just as a server stops."""

    cancelled = False

    @override
    async def SignUp(self, request, context):
        if not self.cancelled:
            self.cancelled = True
            await context.abort(grpc.StatusCode.CANCELLED)
        async for update in super().SignUp(request, context):
            yield update


def open_door(**settings):
    """A door for tests: anybody may sign up as often as he likes, and may ask for everything."""
    return Door(**{"rates": Rates(per_minute=0), "anybody_may_reveal": True} | settings)


async def say(broker, request_id, body):
    """Publish what another service would, as its reply to the request."""
    stored = await broker.read("USERS", address_of(CreateUserRequested).subject_for(request_id))
    command = decode(CreateUserRequested, stored.data, stored.headers)
    [receipt] = await broker.publish([command.reply(body, "stub").posting()])
    return receipt


def confirmed(request_id):
    return CreateUserConfirmed(request_id=request_id, user_id="u" * 16, email="ada@example.org")


def rejected(request_id):
    taken = CreateUserRejected.REASON_EMAIL_TAKEN
    return CreateUserRejected(request_id=request_id, reason=taken, email="ada@example.org")


def sign_up(request_id, **fields):
    """Return a request that everybody would accept, but for the fields that are given."""
    asked = {"email": "ada@example.org", "display_name": "Ada", "locale": "en"} | fields
    return SignUpRequest(request_id=request_id, **asked)


async def opened(client, request):
    """Sign up and return the open call, once it is accepted."""
    call = client.SignUp(request)
    update = await call.read()
    assert update.state == STATE_ACCEPTED
    return call, update


async def rest(call):
    """Return the updates up to the end of a call."""
    updates = []
    while (update := await call.read()) is not grpc.aio.EOF:
        updates.append(update)
    return updates


async def until(condition):
    """Return when it holds. The test's own time limit ends a wait for what never comes."""
    while not condition():  # noqa: ASYNC110 - there is nobody who could set an event
        await asyncio.sleep(0.01)


async def quiet(flow):
    """Return when nobody is watching any more."""
    await until(lambda: not flow.watching)
