"""Signing up as browsers and curl do it: the same handlers, said in Connect and gRPC-Web."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from acme.gateway.v1.sign_up_pb2 import (
    STATE_ACCEPTED,
    STATE_CONFIRMED,
    STATE_EMAILED,
    STATE_PENDING,
    GetSignUpRequest,
    SignUpUpdate,
    WatchSignUpRequest,
)
from acme.users.v1 import CreateUserRequested, SignUpEmailHandled
from connectrpc.errors import ConnectError
from gateway.watchers import Watchers
from gateways import a_gateway, confirmed, open_door, opened, quiet, rejected, rest, say, sign_up
from refused import refused
from seaway.contract import address_of
from web import JSON, PATH, PROTOCOLS, a_web_gateway, framed, told

pytestmark = pytest.mark.timeout(120)

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture
async def web(broker):
    async with a_web_gateway(broker) as web:
        yield web


@every_protocol
async def test_a_sign_up_is_told_as_it_happens(broker, web, request_id, protocol):
    client = web.client(protocol)
    updates = client.call("SignUp", sign_up(request_id, until=STATE_EMAILED))
    accepted = await anext(updates)  # before anybody has answered
    assert (accepted.request_id, accepted.state) == (request_id, STATE_ACCEPTED)
    await say(broker, request_id, confirmed(request_id))
    last = await anext(updates)
    assert (last.state, last.resume_token) == (STATE_CONFIRMED, "2")
    await say(broker, request_id, SignUpEmailHandled(request_id=request_id))
    assert [update.state async for update in updates] == [STATE_EMAILED]


@every_protocol
async def test_it_is_resumed_and_asked_for(broker, web, request_id, protocol):
    client = web.client(protocol)
    unknown = await client.call("GetSignUp", GetSignUpRequest(request_id=request_id))
    assert unknown == SignUpUpdate(request_id=request_id, state=STATE_PENDING)
    accepted = await anext(client.call("SignUp", sign_up(request_id)))
    await say(broker, request_id, confirmed(request_id))
    resuming = WatchSignUpRequest(request_id=request_id, resume_token=accepted.resume_token)
    states = [update.state async for update in client.call("WatchSignUp", resuming)]
    assert states == [STATE_CONFIRMED]
    decided = await client.call("GetSignUp", GetSignUpRequest(request_id=request_id))
    assert decided.state == STATE_CONFIRMED


@pytest.mark.parametrize("name", ["request_id", "requestId"])
async def test_json_takes_the_names_of_the_proto_and_those_of_javascript(web, request_id, name):
    answer = await web.ask("GetSignUp", {name: request_id, "something_new": 1})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"requestId": request_id, "state": "STATE_PENDING"}


async def test_what_changes_nothing_can_be_asked_for_with_get(web, request_id):
    asked = {"connect": "v1", "encoding": "json", "message": f'{{"requestId":"{request_id}"}}'}
    async with web.http() as http:
        answer = await http.get(f"{PATH}/GetSignUp", params=asked)
        assert answer.json()["state"] == "STATE_PENDING"
        assert (await http.get(f"{PATH}/SignUp", params=asked)).status_code == 405


async def test_nobody_keeps_an_answer(web, request_id):
    answer = await web.ask("GetSignUp", {"request_id": request_id})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


async def test_everything_that_is_wrong_is_said_at_once_in_json(web, broker):
    asked = framed({"request_id": "Ada's", "email": "ada", "display_name": ""})
    async with web.http() as http:
        stream = {"content-type": "application/connect+json"}
        answer = await http.post(f"{PATH}/SignUp", content=asked, headers=stream)
    end = httpx.Response(200, content=answer.content[5:]).json()
    assert answer.content[0] == 0b10  # the end of a stream, and nothing before it
    error = told(end["error"])
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error.fields == ("request_id", "email", "display_name")
    assert (await broker.streams())["USERS"].bytes == 0


@every_protocol
async def test_an_error_says_the_same_as_over_grpc(broker, client, web, request_id, protocol):
    await opened(client, sign_up(request_id))
    wrong = [
        ("SignUp", sign_up("Ada's", email="ada", display_name="")),
        ("SignUp", sign_up(request_id, display_name="Eve")),
        ("WatchSignUp", WatchSignUpRequest(request_id=request_id, resume_token="x")),
        ("GetSignUp", GetSignUpRequest()),
    ]
    for method, request in wrong:
        called = getattr(client, method)(request)
        with refused() as by_grpc:
            await (called if method == "GetSignUp" else called.read())
        called = web.client(protocol).call(method, request)
        with pytest.raises(ConnectError) as caught:
            await (called if method == "GetSignUp" else anext(called))
        by_web = told(caught.value)
        if request.request_id == request_id:
            assert by_web.metadata == {"correlation_id": request_id}
        else:  # one is drawn for each
            assert by_web.metadata.pop("correlation_id") != by_grpc.metadata.pop("correlation_id")
        assert by_web == by_grpc


async def test_a_taken_address_looks_like_any_other(broker, web):
    async def signed_up(outcome):
        request_id = str(uuid4())
        asked = {"requestId": request_id, "email": "ada@example.org", "displayName": "Ada"}
        said = []
        async with (
            web.http() as http,
            http.stream(
                "POST",
                f"{PATH}/SignUp",
                content=framed(asked),
                headers={"content-type": "application/connect+json"},
            ) as answer,
        ):
            async for part in answer.aiter_raw():
                said.append(part)
                if len(said) == 1:
                    await say(broker, request_id, outcome(request_id))
        headers = {name: value for name, value in answer.headers.items() if name != "date"}
        updates = [part.replace(request_id.encode(), b"") for part in said]
        # Times and numbers differ from one sign-up to the next, whatever its outcome is.
        return headers, len(updates), [part.split(b'"at"')[0] for part in updates]

    assert await signed_up(rejected) == await signed_up(confirmed)


async def test_while_the_broker_is_away_nothing_is_accepted(server, web, request_id):
    await server.kill()
    with pytest.raises(ConnectError) as caught:
        await anext(web.client().call("SignUp", sign_up(request_id)))
    error = told(caught.value)
    assert (error.code, error.reason) == ("UNAVAILABLE", "BROKER_UNAVAILABLE")
    assert error.retry_after > 0
    answer = await web.ask("GetSignUp", {"request_id": request_id})
    assert (answer.status_code, told(answer.json()).reason) == (503, "BROKER_UNAVAILABLE")


async def test_a_clients_deadline_ends_its_stream_here_too(web, request_id):
    updates = web.client().call("SignUp", sign_up(request_id), timeout=3)
    assert (await anext(updates)).state == STATE_ACCEPTED
    with pytest.raises(ConnectError) as caught:
        await anext(updates)
    assert told(caught.value).code == "DEADLINE_EXCEEDED"
    await quiet(web.flow)


@pytest.mark.parametrize(
    ("name", "deadline"), [("connect-timeout-ms", "300"), ("grpc-timeout", "300m")]
)
async def test_a_deadline_counts_though_its_client_does_not(web, request_id, name, deadline):
    kind = "connect+proto" if name.startswith("connect") else "grpc-web+proto"
    asked = framed(sign_up(request_id).SerializeToString())
    headers = {"content-type": f"application/{kind}", name: deadline}
    async with web.http() as http:
        answer = await http.post(f"{PATH}/SignUp", content=asked, headers=headers)
    assert b"deadline_exceeded" in answer.content or b"grpc-status: 4" in answer.content
    assert web.flow.watching == 0


async def test_whoever_leaves_is_watched_for_no_more(web, request_id):
    async with web.http() as http:
        asked = framed(sign_up(request_id).SerializeToString())
        stream = {"content-type": "application/connect+proto"}
        async with http.stream("POST", f"{PATH}/SignUp", content=asked, headers=stream) as answer:
            await anext(answer.aiter_raw())
            assert web.flow.watching == 1
    await quiet(web.flow)


async def test_a_quiet_stream_repeats_the_last_state(broker, request_id):
    async with a_web_gateway(broker, heartbeat=0.05) as web:
        updates = web.client().call("SignUp", sign_up(request_id))
        assert await anext(updates) == await anext(updates)


async def test_a_stream_ends_at_its_greatest_age_and_is_resumed(broker, request_id):
    async with a_web_gateway(broker, stream_seconds=0.3) as web:
        updates = web.client().call("SignUp", sign_up(request_id))
        with pytest.raises(ConnectError) as caught:
            [update async for update in updates]
        error = told(caught.value)
        assert (error.code, error.reason) == ("UNAVAILABLE", "RESUME")
        assert error.retry_after > 0
        assert web.flow.watching == 0


async def test_a_gateway_that_stops_sends_its_clients_elsewhere(broker, request_id):
    async with a_web_gateway(broker) as there:
        async with a_web_gateway(broker) as here:
            updates = here.client().call("SignUp", sign_up(request_id))
            accepted = await anext(updates)
            ending = asyncio.create_task(anext(updates))
            await asyncio.sleep(0)
        with pytest.raises(ConnectError) as caught:
            await ending
        assert told(caught.value).reason == "RESUME"
        assert here.flow.watching == 0
        token = accepted.resume_token
        again = WatchSignUpRequest(request_id=request_id, resume_token=token)
        watch = there.client().call("WatchSignUp", again)
        await say(broker, request_id, confirmed(request_id))
        assert (await anext(watch)).state == STATE_CONFIRMED


async def test_one_client_is_one_client_whichever_door_it_comes_by(broker):
    door = open_door(watchers=Watchers(at_once=0, per_client=2))
    request = WatchSignUpRequest(request_id=str(uuid4()))
    async with (
        a_gateway(broker, door, heartbeat=0.01) as gateway,
        gateway.client() as client,
        a_web_gateway(broker, door, heartbeat=0.01) as web,
    ):
        by_grpc = client.WatchSignUp(request)
        await by_grpc.read()
        by_web = web.client().call("WatchSignUp", request)
        await anext(by_web)
        with pytest.raises(ConnectError) as caught:
            await anext(web.client().call("WatchSignUp", request))
        error = told(caught.value)
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
        assert error.retry_after > 0
        assert (await anext(web.client().call("SignUp", sign_up(str(uuid4()))))).state
        by_grpc.cancel()
        await quiet(gateway.flow)
        assert (await anext(web.client().call("WatchSignUp", request))).state == STATE_PENDING


async def test_what_comes_by_the_web_is_stored_as_by_grpc(broker, client, web, request_id):
    asked = sign_up(request_id, email="Ünï@Ëxämple.org")
    await anext(web.client("connect, JSON").call("SignUp", asked))
    stored = await broker.read("USERS", address_of(CreateUserRequested).subject_for(request_id))
    assert CreateUserRequested.FromString(stored.data).email == "Ünï@Ëxämple.org"
    # … and so it is the same request, whichever way it comes again.
    await say(broker, request_id, confirmed(request_id))
    assert [update.state for update in await rest(client.SignUp(asked))][-1] == STATE_CONFIRMED


async def test_pages_from_elsewhere_may_not_call(web, request_id):
    asking = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    async with web.http() as http:
        assert (await http.options(f"{PATH}/SignUp", headers=asking)).status_code == 400
        # Without asking first, a page can only send what is no call.
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            sent = await http.post(f"{PATH}/SignUp", headers={**asking, "content-type": kind})
            assert sent.status_code == 415
    answer = await web.ask("GetSignUp", {"request_id": request_id}, **asking)
    assert not [name for name in answer.headers if name.startswith("access-control-allow-")]


async def test_pages_of_origins_that_are_named_may(broker, request_id):
    async with a_web_gateway(broker, origins=("https://our.example",)) as web, web.http() as http:
        asking = {
            "origin": "https://our.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "connect-protocol-version,content-type",
        }
        asked = await http.options(f"{PATH}/SignUp", headers=asking)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://our.example"
        called = await http.post(
            f"{PATH}/GetSignUp",
            json={"request_id": request_id},
            headers=JSON | {"origin": "https://our.example"},
        )
        assert called.headers["access-control-allow-origin"] == "https://our.example"
        assert "grpc-status" in called.headers["access-control-expose-headers"]
        other = await http.options(
            f"{PATH}/SignUp", headers=asking | {"origin": "https://our.example.evil.example"}
        )
        assert other.status_code == 400
