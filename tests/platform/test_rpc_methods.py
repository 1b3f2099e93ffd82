"""Which methods of a service are served over gRPC, and which are denied or refused."""

import asyncio
from uuid import uuid4

import grpc
import pytest
from acme.gateway.v1.sign_up_pb2 import DESCRIPTOR
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from refused import refused
from seaway.errors import ContractError
from seaway.rpc import RpcServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def a_service(**method):
    """A service with one method, which its proto does not call public."""
    package = f"test{uuid4().hex}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.dependency.append(DESCRIPTOR.name)
    file.service.add(name="Service").method.add(
        name="Call",
        input_type=".acme.gateway.v1.GetSignUpRequest",
        output_type=".acme.gateway.v1.SignUpUpdate",
        **method,
    )
    pool = descriptor_pool.Default()
    return pool.AddSerializedFile(file.SerializeToString()).services_by_name["Service"]


class Servicer:
    """Says when it is called, which it must not be."""

    def __init__(self):
        self.calls = 0

    async def Call(self, request, context):  # noqa: N802 - gRPC's name
        self.calls += 1
        yield


async def test_a_stream_that_its_proto_does_not_call_public_is_denied():
    service, servicer = a_service(server_streaming=True), Servicer()
    async with (
        asyncio.timeout(50),
        RpcServer({service: servicer}) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        with refused() as told:
            await channel.unary_stream(f"/{service.full_name}/Call")(b"").read()
    assert (told.code, told.reason) == ("PERMISSION_DENIED", "NOT_PUBLIC")
    assert servicer.calls == 0


async def test_a_method_whose_client_streams_is_refused_before_anything_is_served():
    service = a_service(client_streaming=True)
    with pytest.raises(ContractError, match=f"{service.full_name}.Call: client streaming"):
        async with RpcServer({service: Servicer()}):
            pass


async def test_health_tells_of_everything_at_once():
    is_ready = False

    async def ready():
        return is_ready

    service = a_service()
    async with (
        asyncio.timeout(50),
        RpcServer({service: Servicer()}, ready=ready) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
    told = {name: each.status for name, each in answer.statuses.items()}
    assert told.pop("liveness") == SERVING
    assert told == dict.fromkeys(["", "readiness", service.full_name], NOT_SERVING)
