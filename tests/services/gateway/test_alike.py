"""Nobody can tell a request that is not decided from one that there never was, on any wire."""

from functools import partial
from uuid import uuid4

import grpc
import httpx
import pytest
from acme.gateway.v1.sign_up_pb2 import (
    STATE_PENDING,
    GetSignUpRequest,
    SignUpUpdate,
    WatchSignUpRequest,
)
from gateways import a_gateway, opened, sign_up
from google.protobuf.json_format import MessageToJson
from web import PATH, a_web_gateway, framed

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def ports(broker):
    """The gRPC port of one gateway and the web port of another; heartbeats come at once."""
    async with (
        a_gateway(broker, heartbeat=0.05) as by_grpc,
        a_web_gateway(broker, heartbeat=0.05) as by_web,
    ):
        yield by_grpc.port, by_web.port


async def over_grpc(ports, request):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        call = channel.unary_unary(f"{PATH}/GetSignUp")(request.SerializeToString())
        return await call, await call.initial_metadata(), await call.trailing_metadata()


async def over_http(kind, encode, ports, request):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[1]}", timeout=60) as http:
        said = {"content-type": kind}
        answer = await http.post(f"{PATH}/GetSignUp", content=encode(request), headers=said)
    assert answer.status_code == 200
    return answer.content, *sorted(
        set(answer.headers.items()) - {("date", answer.headers["date"])}
    )


WIRES = {
    "gRPC": over_grpc,
    "connect, binary": partial(over_http, "application/proto", lambda r: r.SerializeToString()),
    "connect, JSON": partial(over_http, "application/json", MessageToJson),
    "gRPC-Web": partial(
        over_http, "application/grpc-web+proto", lambda r: framed(r.SerializeToString())
    ),
}


@pytest.mark.parametrize("wire", WIRES)
async def test_an_undecided_request_and_an_unknown_one_are_the_same_bytes(
    ports, client, request_id, wire
):
    await opened(client, sign_up(request_id))
    undecided, unknown = [
        repr(await WIRES[wire](ports, GetSignUpRequest(request_id=id))).replace(id, "its id")
        for id in (request_id, str(uuid4()))
    ]
    assert "its id" in undecided
    assert undecided == unknown


async def test_whoever_watches_an_unknown_one_is_told_what_whoever_asks_is(ports, request_id):
    pending = SignUpUpdate(request_id=request_id, state=STATE_PENDING).SerializeToString()
    request = WatchSignUpRequest(request_id=request_id).SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        assert await channel.unary_stream(f"{PATH}/WatchSignUp")(request).read() == pending
    kind = {"content-type": "application/connect+proto"}
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[1]}", timeout=60) as http,
        http.stream(
            "POST", f"{PATH}/WatchSignUp", content=framed(request), headers=kind
        ) as answer,
    ):
        assert await anext(answer.aiter_raw(len(framed(pending)))) == framed(pending)
