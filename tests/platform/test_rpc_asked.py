"""Calls whose request never comes, or is none; and those that would last for ever."""

import logging
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from acme.gateway.v1 import GetSignUpRequest, SignUpUpdate
from acme.gateway.v1.sign_up_pb2 import DESCRIPTOR
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from raw_http2 import raw
from refused import refused
from seaway.rpc import Limits, RpcServer
from waiting import until

pytestmark = pytest.mark.timeout(60)

SERVICE = DESCRIPTOR.services_by_name["SignUpService"]
ENHANCE_YOUR_CALM = 11
METHODS = ("GetSignUp", "SignUp")


class Servicer:
    """Answers, and counts how often."""

    def __init__(self):
        self.calls = 0

    async def GetSignUp(self, request, context):  # noqa: N802 - gRPC's name
        self.calls += 1
        return SignUpUpdate(request_id=request.request_id)

    async def SignUp(self, request, context):  # noqa: N802
        self.calls += 1
        yield SignUpUpdate(request_id=request.request_id)

    WatchSignUp = SignUp


@asynccontextmanager
async def serving(servicer, **settings):
    async with (
        RpcServer({SERVICE: servicer}, **settings) as server,
        grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]
        ) as channel,
    ):
        yield server, channel


async def test_calls_whose_request_never_comes_do_not_take_the_place_of_others():
    limits = Limits(calls=10, call_seconds=0.3)
    async with serving(Servicer(), limits=limits) as (server, channel), raw(server.port) as rude:
        streams = {rude.begin(method) for method in METHODS * 5}
        await rude.flush()
        stub = SignUpServiceStub(channel)

        async def served():
            with suppress(grpc.aio.AioRpcError):  # as many as may are in hand
                return await stub.GetSignUp(GetSignUpRequest(request_id="x"))

        await until(served, within=20)
        await until(lambda: rude.ended >= streams, within=20)


async def test_of_too_many_the_one_that_has_waited_longest_gives_way():
    limits = Limits(calls_without_request=3, call_seconds=30)
    servicer = Servicer()
    async with serving(servicer, limits=limits) as (server, channel), raw(server.port) as rude:
        streams = [rude.begin(method) for method in METHODS * 3]
        await rude.flush()
        await until(lambda: rude.ended >= set(streams[:3]), within=20)
        await SignUpServiceStub(channel).GetSignUp(GetSignUpRequest())
        assert not rude.ended & set(streams[4:])
    assert servicer.calls == 1


async def test_a_call_that_is_reset_before_its_request_leaves_nothing(caplog):
    servicer = Servicer()
    with caplog.at_level(logging.WARNING):
        async with serving(servicer) as (server, channel), raw(server.port) as rude:
            for number in range(200):
                rude.reset(rude.begin(METHODS[number % 2]))
                await rude.flush()
            await SignUpServiceStub(channel).GetSignUp(GetSignUpRequest())
    assert servicer.calls == 1
    assert not caplog.records


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [b"\x0a\xff\x01ada@example.org", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_request_are_refused_without_a_word_of_them(method, body, caplog):
    servicer = Servicer()
    async with serving(servicer) as (_, channel):
        kind = channel.unary_unary if method == "GetSignUp" else channel.unary_stream
        call = kind(f"/{SERVICE.full_name}/{method}")(body)
        with refused() as told:
            await (call if method == "GetSignUp" else call.read())
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "UNREADABLE")
    assert "ada" not in told.said + caplog.text
    assert servicer.calls == 0


async def test_no_request_at_all_is_none():
    servicer = Servicer()
    async with serving(servicer) as (_, channel):
        with refused() as told:
            await channel.stream_unary(f"/{SERVICE.full_name}/GetSignUp")(iter(()))
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "UNREADABLE")
    assert servicer.calls == 0


async def test_whoever_pings_again_and_again_is_sent_away():
    async with serving(Servicer()) as (server, _), raw(server.port) as rude:

        async def sent_away():
            if rude.told_to_go is None:
                rude.ping()
                await rude.flush()
            return rude.told_to_go is not None

        await until(sent_away, within=20)
    assert rude.told_to_go == ENHANCE_YOUR_CALM


async def test_only_so_many_watch_our_health():
    async with serving(Servicer(), limits=Limits(health_streams=2)) as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        watching = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for call in watching:
            await call.read()
        with refused() as told:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
        watching[0].cancel()

        async def again():
            call = stub.Watch(health_pb2.HealthCheckRequest())
            with suppress(grpc.aio.AioRpcError):
                return await call.read()

        await until(again, within=20)


async def test_where_protos_are_not_shown_nobody_can_ask_for_them():
    async with serving(Servicer(), shows_protos=False) as (_, channel):
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(iter([asked])).read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
