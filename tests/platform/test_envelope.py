"""A message on the wire and back."""

import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from hypothesis import given
from hypothesis import strategies as st
from seaway.envelope import SEAWAY, Envelope, decode
from seaway.errors import ContractError, Unprocessable

REQUEST = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

ids = st.uuids().map(str)
keys = st.text(string.ascii_lowercase + string.digits + "-", min_size=16, max_size=64)
names = st.text(string.ascii_lowercase + "-", min_size=1, max_size=40)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
requests = st.builds(
    CreateUserRequested,
    request_id=ids,
    email=st.text(min_size=3, max_size=60),
    display_name=st.text(
        st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=100
    ),
    locale=st.sampled_from(["", "en", "de-AT"]),
)


def a_request(**fields):
    return CreateUserRequested(
        **{"request_id": REQUEST, "email": "ada@example.org", "display_name": "Ada"} | fields
    )


def headers(**changes):
    opened = Envelope.opening(a_request(), "gateway", TRACE).headers()
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in (opened | changed).items() if value is not None}


def decoded(data=None, **changes):
    data = a_request().SerializeToString() if data is None else data
    return decode(CreateUserRequested, data, headers(**changes))


def test_the_key_of_an_opening_message_is_its_id_and_the_id_of_the_conversation():
    before = datetime.now(UTC)
    opened = Envelope.opening(a_request(), "gateway", TRACE)
    assert opened.id == opened.correlation_id == opened.causation_id == REQUEST
    assert (opened.source, opened.traceparent) == ("gateway", TRACE)
    assert before <= opened.time <= datetime.now(UTC)


def test_a_conversation_cannot_be_opened_with_a_bad_key():
    with pytest.raises(ContractError, match="an opaque id"):
        Envelope.opening(a_request(request_id="Ada"), "gateway")


def test_the_headers_are_cloudevents_names():
    assert headers(ce_time=None) == {
        "ce-specversion": "1.0",
        "ce-id": REQUEST,
        "ce-type": "acme.users.v1.CreateUserRequested",
        "ce-source": "gateway",
        "ce-correlationid": REQUEST,
        "ce-causationid": REQUEST,
        "content-type": "application/protobuf",
        "traceparent": TRACE,
    }


def test_no_message_id_is_sent_for_the_broker_to_deduplicate_by():
    assert not [name for name in headers() if name.lower().startswith("nats-")]


def test_time_is_written_in_utc_as_rfc_3339():
    vienna = datetime(2026, 11, 23, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=1)))
    message = Envelope(a_request(), REQUEST, "gateway", vienna, REQUEST, REQUEST)
    assert message.headers()["ce-time"] == "2026-11-23T00:02:03.000004Z"
    assert "traceparent" not in message.headers()


def test_a_reply_belongs_to_the_conversation_and_names_its_cause():
    request = Envelope.opening(a_request(), "gateway", TRACE)
    reply = request.reply(CreateUserRejected(request_id=REQUEST), "user-creation-x")
    assert reply.correlation_id == reply.causation_id == REQUEST
    assert (reply.source, reply.traceparent) == ("user-creation-x", TRACE)
    answer = reply.reply(CreateUserRejected(request_id=REQUEST), "welcome-email-y")
    assert (answer.correlation_id, answer.causation_id) == (REQUEST, reply.id)


def test_the_id_of_a_reply_is_pinned_for_other_languages():
    assert uuid5(NAMESPACE_DNS, "seaway.dev") == SEAWAY
    assert str(SEAWAY) == "97798f3e-6a32-598a-914e-9a5c8b8b11f4"
    request = Envelope.opening(a_request(), "gateway")
    reply = request.reply(
        CreateUserConfirmed(request_id=REQUEST), "user-creation-create-user-requested"
    )
    assert reply.id == "0a569abb-b798-53d1-b755-f7cd1ee56295"


@given(cause=requests, key=keys, durable=names)
def test_the_id_of_a_reply_follows_from_cause_durable_type_and_key(cause, key, durable):
    first = Envelope.opening(cause, "gateway")
    again = Envelope.opening(cause, "another-gateway")
    confirmed = CreateUserConfirmed(request_id=key, email="one@example.org")
    same = first.reply(confirmed, durable).id
    assert UUID(same).version == 5
    assert again.reply(CreateUserConfirmed(request_id=key), durable).id == same
    others = {
        first.reply(CreateUserRejected(request_id=key), durable).id,
        first.reply(confirmed, f"{durable}x").id,
        first.reply(
            CreateUserConfirmed(request_id=f"{key[:15]}{'0' if key[15:16] != '0' else '1'}"),
            durable,
        ).id,
        first.reply(confirmed, durable).reply(confirmed, durable).id,
    }
    assert same not in others
    assert len(others) == 4


@given(
    body=requests,
    id=ids,
    source=names,
    time=times,
    correlation_id=ids,
    causation_id=ids,
    traceparent=st.sampled_from(["", TRACE]),
)
def test_what_is_sent_is_what_is_read(**fields):
    message = Envelope(**fields)
    posting = message.posting()
    assert decode(CreateUserRequested, posting.data, posting.headers) == message


@given(
    number=st.integers(100, 2**29 - 1).filter(lambda n: not 19000 <= n < 20000), value=st.binary()
)
def test_fields_of_a_later_version_survive(number, value):
    later = varint(number << 3 | 2) + varint(len(value)) + value
    message = decoded(a_request().SerializeToString() + later)
    assert message.body.SerializeToString() == a_request().SerializeToString() + later


@given(reason=st.integers(2, 2**31 - 1))
def test_enum_values_of_a_later_version_survive(reason):
    data = CreateUserRejected(request_id=REQUEST, reason=reason).SerializeToString()
    message = decode(CreateUserRejected, data, headers())
    assert message.body.reason == reason
    assert message.body.SerializeToString() == data


def varint(number):
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def test_a_posting_says_where_it_goes_and_what_it_excludes():
    message = Envelope.opening(a_request(), "gateway")
    posting = message.posting()
    assert (posting.stream, posting.subject) == ("USERS", f"users.v1.create-requested.{REQUEST}")
    assert (posting.data, posting.rivals) == (a_request().SerializeToString(), ())
    assert posting.headers == message.headers()
    outcome = message.reply(CreateUserConfirmed(request_id=REQUEST), "user-creation-x").posting()
    assert outcome.rivals == (f"users.v1.create-rejected.{REQUEST}",)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_unprocessable(data):
    with pytest.raises(Unprocessable, match=r"^UNDECODABLE$"):
        decoded(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": "x"},
        {"email": ""},
        {"email": "a" * 255},
        {"display_name": "x" * 101},
        {"locale": "!"},
    ],
)
def test_a_message_that_breaks_its_rules_is_unprocessable(fields):
    with pytest.raises(Unprocessable, match=r"^INVALID$"):
        decoded(a_request(**fields).SerializeToString())


@pytest.mark.parametrize(
    "changes",
    [{"ce_id": None}, {"ce_id": "not an id"}, {"ce_time": None}, {"ce_time": "yesterday"}],
)
def test_headers_without_an_id_or_a_time_are_unprocessable(changes):
    with pytest.raises(Unprocessable, match=r"^BAD_HEADERS$"):
        decoded(**changes)


def test_a_reason_holds_nothing_of_the_message():
    with pytest.raises(Unprocessable) as caught:
        decoded(a_request(email="x" * 300).SerializeToString())
    assert caught.value.reason == str(caught.value) == "INVALID"


def test_a_message_of_a_stranger_needs_no_more_than_an_id_and_a_time():
    bare = {"ce-id": REQUEST.upper(), "ce-time": "2026-11-23T00:00:00Z"}
    message = decode(CreateUserRequested, a_request().SerializeToString(), bare)
    assert message.id == message.correlation_id == message.causation_id == REQUEST
    assert (message.source, message.traceparent) == ("", "")


@pytest.mark.parametrize(("days", "stale"), [(0, False), (6.9, False), (7.1, True)])
def test_a_message_grows_stale_as_its_proto_says(days, stale):
    now = datetime.now(UTC)
    message = Envelope.opening(CreateUserConfirmed(request_id=REQUEST), "test")
    assert replace(message, stored_at=now - timedelta(days=days)).is_stale(now) is stale
    assert not message.is_stale(now)


def test_a_message_whose_proto_says_nothing_never_grows_stale():
    now = datetime.now(UTC)
    message = Envelope.opening(CreateUserRequested(request_id=REQUEST), "test")
    assert not replace(message, stored_at=now - timedelta(days=9999)).is_stale(now)
