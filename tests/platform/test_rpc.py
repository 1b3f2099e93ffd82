"""gRPC as we serve it, seen by a client."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from acme.gateway.v1 import GetSignUpRequest, SignUpRequest, SignUpUpdate, WatchSignUpRequest
from acme.gateway.v1.sign_up_pb2 import DESCRIPTOR
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY
from refused import refused
from seaway.errors import BrokerUnavailable, SettingsError, StreamFull
from seaway.rpc import Limits, Refusal, RpcServer, exhausted, validate
from structlog.testing import capture_logs

SERVICE = DESCRIPTOR.services_by_name["SignUpService"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Servicer:
    """Answers as it is told to."""

    def __init__(self, answer=None, updates=()):
        self.answer = answer
        self.updates = updates
        self.begun = asyncio.Event()
        self.calls = 0
        self.open = 0
        self.all_closed = asyncio.Event()

    async def GetSignUp(self, request, context):  # noqa: N802 - gRPC's name
        self.calls += 1
        self.begun.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer(request) if self.answer else SignUpUpdate()

    async def SignUp(self, request, context):  # noqa: N802
        self.open += 1
        self.all_closed.clear()
        try:
            for update in self.updates:
                yield update
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.open -= 1
            if not self.open:
                self.all_closed.set()

    WatchSignUp = SignUp


@asynccontextmanager
async def channel_to(server):
    local = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", local) as channel:
        yield channel


@asynccontextmanager
async def serving(servicer, **settings):
    async with asyncio.timeout(20):
        async with (
            RpcServer({SERVICE: servicer}, **settings) as server,
            channel_to(server) as channel,
        ):
            yield SignUpServiceStub(channel)


async def test_a_refusal_reaches_the_client_with_everything_it_says():
    no = exhausted("TOO_MANY", "not one more", retry_after=2.5)
    async with serving(Servicer(no)) as stub:
        with refused() as told:
            await stub.GetSignUp(GetSignUpRequest())
    assert (told.code, told.said) == ("RESOURCE_EXHAUSTED", "not one more")
    assert (told.reason, told.domain, told.retry_after) == ("TOO_MANY", "seaway.dev", 2.5)


async def test_every_rule_that_a_request_breaks_is_named():
    with pytest.raises(Refusal) as caught:
        validate(SignUpRequest(request_id="7", email="ada", display_name="", locale="!", until=1))
    fields = [violation.field for violation in caught.value.fields]
    assert fields == ["request_id", "email", "display_name", "locale", "until"]
    assert "ada" not in str(caught.value).replace("ada@example.org", "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(BrokerUnavailable("x"), "BROKER_UNAVAILABLE"), (StreamFull("x"), "STREAM_FULL")],
)
async def test_what_will_pass_is_unavailable_and_says_when_to_try_again(error, reason):
    async with serving(Servicer(error)) as stub:
        with refused() as told:
            await stub.GetSignUp(GetSignUpRequest())
    assert (told.code, told.reason) == ("UNAVAILABLE", reason)
    assert told.retry_after > 0


async def test_a_refusal_carries_the_id_of_its_conversation_and_so_does_the_log():
    asked = GetSignUpRequest(request_id="0f8fad5b-d9cb-469f-a165-70867728950e")
    with capture_logs() as logs:
        async with serving(Servicer(BrokerUnavailable("ada@example.org"))) as stub:
            with refused() as told:
                await stub.GetSignUp(asked)
            with refused() as another:
                await stub.GetSignUp(GetSignUpRequest(request_id="not an id, ada@example.org"))
    ids = [each.metadata["correlation_id"] for each in (told, another)]
    assert ids[0] == asked.request_id
    assert [(line["correlation_id"], line["reason"]) for line in logs] == [
        (id, "BROKER_UNAVAILABLE") for id in ids
    ]
    assert "ada@" not in f"{told}{another}{logs}"


async def test_an_unexpected_error_shows_a_code_that_the_log_knows_and_no_word_of_it():
    with capture_logs() as logs:
        async with serving(Servicer(KeyError("ada@example.org"))) as stub:
            with refused() as told:
                await stub.GetSignUp(GetSignUpRequest())
    assert (told.code, told.reason) == ("INTERNAL", "INTERNAL")
    [logged] = logs
    assert told.metadata == {"correlation_id": logged["correlation_id"]}
    assert (logged["log_level"], logged["error"]) == ("error", "KeyError")
    assert any("GetSignUp" in place for place in logged["where"])
    assert "ada@" not in f"{told}{logs}"
    assert "KeyError" not in told.said


async def test_a_request_of_20_kilobytes_is_refused():
    servicer = Servicer()
    async with serving(servicer) as stub:
        with refused() as told:
            await stub.GetSignUp(GetSignUpRequest(request_id="x" * 20_000))
    assert told.code == "RESOURCE_EXHAUSTED"
    assert servicer.calls == 0


async def test_a_stream_ends_at_its_greatest_age_and_its_client_is_told_to_resume():
    servicer = Servicer(updates=[SignUpUpdate(resume_token="7")])
    async with serving(servicer, limits=Limits(stream_seconds=0.2)) as stub:
        call = stub.SignUp(SignUpRequest())
        with refused() as told:
            async for update in call:
                assert update.resume_token == "7"
    assert (told.code, told.reason) == ("UNAVAILABLE", "RESUME")
    assert told.retry_after > 0
    assert servicer.open == 0


async def test_a_call_that_takes_too_long_is_ended_here():
    async def never(request):
        await asyncio.Event().wait()

    async with serving(Servicer(never), limits=Limits(call_seconds=0.1)) as stub:
        with refused() as told:
            await stub.GetSignUp(GetSignUpRequest())
    assert (told.code, told.reason) == ("DEADLINE_EXCEEDED", "TOO_LATE")


async def test_a_client_that_cancels_leaves_nothing_open():
    servicer = Servicer()
    async with serving(servicer) as stub:
        call = stub.SignUp(SignUpRequest())
        await servicer.begun.wait()
        call.cancel()
        await servicer.all_closed.wait()


async def test_only_so_many_streams_of_one_connection_are_open_and_others_are_served():
    servicer = Servicer(updates=[SignUpUpdate()])
    limits = Limits(streams_per_connection=2)
    async with (
        asyncio.timeout(20),
        RpcServer({SERVICE: servicer}, limits=limits) as server,
        channel_to(server) as channel,
        channel_to(server) as other,
    ):
        calls = [SignUpServiceStub(channel).SignUp(SignUpRequest()) for _ in range(4)]
        reads = {asyncio.create_task(call.read()): call for call in calls}
        first, second = await served(reads, 2)
        await SignUpServiceStub(other).GetSignUp(GetSignUpRequest())
        assert (servicer.open, await served(reads, 2)) == (2, [first, second])
        reads[first].cancel()
        assert len(await served(reads, 3)) == 3
        assert servicer.open == 2
        for call in calls:
            call.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def served(reads, number):
    """Return those of the reads that were answered, once there are so many."""
    while len(done := [read for read in reads if read.done()]) < number:
        await asyncio.wait(set(reads) - set(done), return_when=asyncio.FIRST_COMPLETED)
    return done


@asynccontextmanager
async def stopping_when(servicer, is_stopping):
    """A server that begins to stop when it is told to, and has stopped when this is left."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        server = await RpcServer({SERVICE: servicer}).__aenter__()

        async def stop():
            await is_stopping.wait()
            await server.__aexit__(None, None, None)

        async with channel_to(server) as channel:
            yield channel, tasks.create_task(stop())
            is_stopping.set()


async def test_at_the_end_streams_are_told_to_resume():
    servicer = Servicer(updates=[SignUpUpdate()])
    async with stopping_when(servicer, stop := asyncio.Event()) as (channel, _):
        stub = SignUpServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        streams = [
            stub.SignUp(SignUpRequest()),
            stub.WatchSignUp(WatchSignUpRequest()),
            health.Watch(health_pb2.HealthCheckRequest()),
        ]
        for stream in streams:
            await stream.read()
        stop.set()
        for stream in streams:
            with refused() as told:
                await stream.read()
            assert (told.code, told.reason) == ("UNAVAILABLE", "RESUME")
            assert told.retry_after > 0


async def test_at_the_end_calls_in_hand_are_finished_and_no_others_begun():
    finish = asyncio.Event()

    async def slowly(request):
        await finish.wait()
        return SignUpUpdate(reason="finished")

    servicer = Servicer(slowly)
    async with stopping_when(servicer, stop := asyncio.Event()) as (channel, stopped):
        call = asyncio.ensure_future(SignUpServiceStub(channel).GetSignUp(GetSignUpRequest()))
        await servicer.begun.wait()
        stop.set()
        await asyncio.wait({stopped}, timeout=0.1)
        with refused() as told:
            await SignUpServiceStub(channel).GetSignUp(GetSignUpRequest())
        assert (told.code, stopped.done()) == ("UNAVAILABLE", False)
        finish.set()
        assert (await call).reason == "finished"


async def test_health_knows_the_process_and_each_service():
    is_ready = True

    async def ready():
        return is_ready

    async with (
        asyncio.timeout(20),
        RpcServer({SERVICE: Servicer()}, ready=ready) as server,
        channel_to(server) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)

        async def ask(name):
            return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status

        changing = ("", "readiness", "acme.gateway.v1.SignUpService")
        assert [await ask(n) for n in (*changing, "liveness")] == [SERVING] * 4
        watching = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watching.read()).status == SERVING
        is_ready = False
        assert [await ask(n) for n in changing] == [NOT_SERVING] * 3
        assert await ask("liveness") == SERVING
        assert (await watching.read()).status == NOT_SERVING
        with refused() as told:
            await ask("acme.nowhere.v1.Service")
        assert told.code == "NOT_FOUND"


async def test_a_client_without_protos_can_ask_for_them():
    async with (
        asyncio.timeout(20),
        RpcServer({SERVICE: Servicer()}) as server,
        channel_to(server) as channel,
    ):
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE.full_name)
        answers = [answer async for answer in ask(iter([listing, symbol]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= {"acme.gateway.v1.SignUpService", "grpc.health.v1.Health"}
    assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_a_method_that_its_proto_does_not_call_public_is_denied():
    file = descriptor_pb2.FileDescriptorProto(name="private.proto", package="test")
    file.dependency.append("acme/gateway/v1/sign_up.proto")
    method = file.service.add(name="Private").method.add(name="GetSignUp")
    method.input_type = ".acme.gateway.v1.GetSignUpRequest"
    method.output_type = ".acme.gateway.v1.SignUpUpdate"
    pool = descriptor_pool.Default()
    private = pool.AddSerializedFile(file.SerializeToString()).services_by_name["Private"]
    servicer = Servicer()
    async with (
        asyncio.timeout(20),
        RpcServer({private: servicer}) as server,
        channel_to(server) as channel,
    ):
        with refused() as told:
            await channel.unary_unary("/test.Private/GetSignUp")(b"")
    assert (told.code, told.reason) == ("PERMISSION_DENIED", "NOT_PUBLIC")
    assert servicer.calls == 0


async def test_a_port_that_is_taken_is_named():
    async with RpcServer({SERVICE: Servicer()}) as first:
        with pytest.raises(SettingsError, match=str(first.port)):
            await RpcServer({SERVICE: Servicer()}, port=first.port).__aenter__()


async def test_calls_are_counted_under_the_names_that_dashboards_know():
    labels = {"grpc_service": SERVICE.full_name, "grpc_method": "GetSignUp", "grpc_type": "unary"}

    def counted(name, **more):
        return REGISTRY.get_sample_value(name, labels | more) or 0

    def all_of_them():
        return (
            counted("grpc_server_started_total"),
            counted("grpc_server_handled_total", grpc_code="OK"),
            counted("grpc_server_handled_total", grpc_code="ResourceExhausted"),
            counted("grpc_server_handling_seconds_count"),
        )

    before = all_of_them()
    servicer = Servicer()
    async with serving(servicer) as stub:
        await stub.GetSignUp(GetSignUpRequest())
        servicer.answer = exhausted("X", "x")
        with refused():
            await stub.GetSignUp(GetSignUpRequest())
    assert [now - then for now, then in zip(all_of_them(), before, strict=True)] == [2, 1, 1, 2]
