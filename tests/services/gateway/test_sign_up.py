"""Signing up, as a client sees it. What user-creation would say, the tests say."""

import asyncio
from unicodedata import normalize
from uuid import uuid4

import pytest
from acme.gateway.v1.sign_up_pb2 import (
    STATE_ACCEPTED,
    STATE_CONFIRMED,
    STATE_EMAILED,
    STATE_PENDING,
    STATE_REJECTED,
    GetSignUpRequest,
    SignUpUpdate,
    WatchSignUpRequest,
)
from acme.users.v1 import CreateUserRejected, CreateUserRequested, SignUpEmailHandled
from gateways import a_gateway, confirmed, opened, rejected, rest, say, sign_up
from prometheus_client import REGISTRY
from refused import refused
from seaway.contract import address_of

pytestmark = pytest.mark.timeout(30)


async def test_a_sign_up_is_accepted_then_confirmed(broker, client, request_id):
    call, accepted = await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    last = await call.read()
    assert (last.request_id, last.state) == (request_id, STATE_CONFIRMED)
    assert (accepted.resume_token, last.resume_token) == ("1", "2")
    assert last.at.ToDatetime() > accepted.at.ToDatetime()
    assert await rest(call) == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_what_is_accepted_is_stored_as_it_was_asked_for(broker, client, request_id, form):
    email = normalize(form, "Ünï@Ëxämple.org")
    _, accepted = await opened(client, sign_up(request_id, email=email))
    subject = address_of(CreateUserRequested).subject_for(request_id)
    stored = await broker.read("USERS", subject)
    assert CreateUserRequested.FromString(stored.data) == CreateUserRequested(
        request_id=request_id, email=email, display_name="Ada", locale="en"
    )
    assert stored.headers["ce-id"] == stored.headers["ce-correlationid"] == request_id
    assert stored.headers["ce-source"] == "gateway"
    assert f"{accepted.at.ToDatetime().isoformat()}Z" == stored.headers["ce-time"]


async def test_a_taken_address_looks_like_any_other(broker, client):
    async def signed_up(outcome):
        request_id = str(uuid4())
        call, _ = await opened(client, sign_up(request_id))
        await say(broker, request_id, outcome(request_id))
        watch = client.WatchSignUp(WatchSignUpRequest(request_id=request_id))
        asked = await client.GetSignUp(GetSignUpRequest(request_id=request_id))
        updates = [*await rest(call), *await rest(watch), asked]
        for update in updates:
            assert update.request_id == request_id
            update.ClearField("request_id")
            update.ClearField("at")
            update.ClearField("resume_token")
        return [update.SerializeToString() for update in updates]

    assert await signed_up(rejected) == await signed_up(confirmed)


async def test_who_asks_for_it_is_told_that_an_address_is_taken(broker, client, request_id):
    call, _ = await opened(client, sign_up(request_id, reveal_taken=True))
    await say(broker, request_id, rejected(request_id))
    last = await call.read()
    assert (last.state, last.reason) == (STATE_REJECTED, "EMAIL_TAKEN")


async def test_a_reason_that_we_do_not_know_yet_is_another_one(broker, client, request_id):
    call, _ = await opened(client, sign_up(request_id, reveal_taken=True))
    await say(broker, request_id, CreateUserRejected(request_id=request_id, reason=99))
    last = await call.read()
    assert (last.state, last.reason) == (STATE_REJECTED, "OTHER")


@pytest.mark.parametrize("outcome", [confirmed, rejected])
async def test_a_stream_goes_on_to_the_mail_if_asked(broker, client, request_id, outcome):
    call, _ = await opened(client, sign_up(request_id, until=STATE_EMAILED))
    await say(broker, request_id, outcome(request_id))
    kind = SignUpEmailHandled.KIND_GREETING
    await say(broker, request_id, SignUpEmailHandled(request_id=request_id, kind=kind))
    assert [update.state for update in await rest(call)] == [STATE_CONFIRMED, STATE_EMAILED]
    asked = await client.GetSignUp(GetSignUpRequest(request_id=request_id))
    assert asked.state == STATE_EMAILED


async def test_whoever_polls_learns_nothing_before_the_outcome(broker, client, request_id):
    unknown = await client.GetSignUp(GetSignUpRequest(request_id=request_id))
    assert unknown == SignUpUpdate(request_id=request_id, state=STATE_PENDING)
    await opened(client, sign_up(request_id))
    assert await client.GetSignUp(GetSignUpRequest(request_id=request_id)) == unknown
    await say(broker, request_id, confirmed(request_id))
    decided = await client.GetSignUp(GetSignUpRequest(request_id=request_id))
    assert decided.state == STATE_CONFIRMED
    assert decided.resume_token == "2"


async def test_everything_that_is_wrong_is_said_at_once(client, broker):
    with refused() as told:
        await client.SignUp(sign_up("Ada's", email="ada", display_name="")).read()
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert told.fields == ("request_id", "email", "display_name")
    assert (await broker.streams())["USERS"].bytes == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "x" * 101),
        ("display_name", "Ada\0"),
        ("email", "ada@-example.org"),
        ("email", "ada@xn--a.org"),
        ("email", f"ada@{'x' * 64}.org"),
        ("email", "ada@example.org\r\nBcc: eve@example.org"),
        ("locale", "en_US"),
        ("until", STATE_ACCEPTED),
    ],
)
async def test_what_cannot_be_is_refused_by_field(client, request_id, field, value):
    with refused() as told:
        await client.SignUp(sign_up(request_id, **{field: value})).read()
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", (field,))


async def test_a_name_of_100_characters_of_any_script_is_fine(client, request_id):
    await opened(client, sign_up(request_id, display_name="𝒜" * 100))


async def test_a_request_id_is_used_once(broker, client, request_id):
    await opened(client, sign_up(request_id))
    with refused() as told:
        await client.SignUp(sign_up(request_id, display_name="Eve")).read()
    assert (told.code, told.reason) == ("ABORTED", "REQUEST_ID_REUSED")
    assert "Eve" not in told.said
    await say(broker, request_id, confirmed(request_id))
    asked = await client.GetSignUp(GetSignUpRequest(request_id=request_id))
    assert asked.state == STATE_CONFIRMED


async def test_ten_retries_at_once_are_one_request_with_ten_equal_answers(broker, request_id):
    async with (
        a_gateway(broker) as here,
        a_gateway(broker) as there,
        here.client() as one,
        there.client() as other,
    ):
        clients = [one, other] * 5
        calls = [await opened(client, sign_up(request_id)) for client in clients[:2]]
        calls += await asyncio.gather(*(opened(c, sign_up(request_id)) for c in clients[2:]))
        await say(broker, request_id, confirmed(request_id))
        answers = [[first, *await rest(call)] for call, first in calls]
        assert len(answers[0]) == 2
        assert answers == [answers[0]] * 10
        assert (await broker.streams())["USERS"].last == 2


async def test_a_retry_after_the_outcome_gets_the_same_answer(broker, client, request_id):
    call, accepted = await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    told = [accepted, *await rest(call)]
    assert await rest(client.SignUp(sign_up(request_id))) == told


async def test_how_long_people_wait_for_an_outcome_is_measured(broker, client, request_id):
    def counted():
        return {
            outcome: REGISTRY.get_sample_value(
                "seaway_sign_up_seconds_count", {"outcome": outcome}
            )
            for outcome in ("confirmed", "rejected")
        }

    before = counted()
    published = {"service": "gateway", "message": "CreateUserRequested", "outcome": "stored"}
    stored = REGISTRY.get_sample_value("seaway_messages_published_total", published)
    call, _ = await opened(client, sign_up(request_id))
    assert counted() == before
    await say(broker, request_id, rejected(request_id))
    assert (await call.read()).state == STATE_CONFIRMED  # as the outside may see it
    assert await rest(call) == []
    assert counted() == before | {"rejected": before["rejected"] + 1}
    assert REGISTRY.get_sample_value("seaway_messages_published_total", published) == stored + 1
    open_now = {"grpc_type": "server_stream", "grpc_method": "SignUp"}
    open_now["grpc_service"] = "acme.gateway.v1.SignUpService"
    assert REGISTRY.get_sample_value("seaway_streams_active", open_now) == 0
