"""What becomes a row, and what is answered."""

from datetime import UTC, datetime

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, UserAddedToWarehouse
from seaway.broker import Posting
from seaway.envelope import Envelope
from seaway.testing import running
from warehouses import answered, confirmed, requested, rows, sha256


async def test_every_message_has_a_row_and_every_new_user_an_answer(service, broker, url):
    request = requested(email="ada@example.org", locale="de")
    asked, said = answered(request)
    async with running(service, broker=broker) as system:
        await broker.publish([asked, said])
        await system.settled()
        [added] = system.published[2:]
    user = CreateUserConfirmed.FromString(said.data)
    assert isinstance(added, UserAddedToWarehouse)
    assert (added.request_id, added.user_id) == (request.request_id, user.user_id)
    first, second, third = rows(url)
    assert [row["sequence"] for row in (first, second, third)] == [1, 2, 3]
    assert (first["type"], first["event_id"]) == ("CreateUserRequested", request.request_id)
    assert (first["email"], first["display_name"], first["user_id"]) == (
        *("ada@example.org", "Ada"),
        None,
    )
    assert (second["type"], second["locale"]) == ("CreateUserConfirmed", "de")
    assert second["created_at"] == user.created_at.ToDatetime(tzinfo=UTC)
    assert [first["sha256"], second["sha256"]] == [sha256(asked), sha256(said)]
    assert second["date"] == second["occurred_at"].date()
    assert third["type"] == "UserAddedToWarehouse"


async def test_a_rejection_is_a_row_with_the_name_of_its_reason(service, broker, url):
    rejected = CreateUserRejected(
        request_id=requested().request_id,
        reason=CreateUserRejected.REASON_EMAIL_TAKEN,
        email="ada@example.org",
    )
    async with running(service, broker=broker) as system:
        await system.send(rejected)
        assert system.published == []
    [row] = rows(url)
    assert (row["reason"], row["kind"], row["at"]) == ("REASON_EMAIL_TAKEN", None, None)


async def test_a_value_that_this_release_does_not_know_is_kept_by_its_number(service, broker, url):
    rejected = CreateUserRejected(request_id=requested().request_id, reason=77)
    async with running(service, broker=broker) as system:
        await system.send(rejected)
    assert rows(url, ["reason"]) == [{"reason": "77"}]


async def test_what_comes_again_adds_no_row(service, broker, url):
    async with running(service, broker=broker) as system:
        await broker.publish(answered(*(requested(email=f"{n}@example.org") for n in range(20))))
        await system.settled()
        before = rows(url)
        await system.deliver_all_again()
        await system.deliver_all_again()
    assert len(before) == 60
    assert rows(url) == before


async def test_a_redrive_of_another_durable_is_no_row_and_one_of_ours_is(service, broker, url):
    [asked, said] = answered(requested())
    theirs = Posting("USERS", "users.v1.redrive.crm-users.7", said.data, said.headers)
    ours = Posting("USERS", "users.v1.redrive.data-warehouse-users.7", said.data, said.headers)
    async with running(service, broker=broker) as system:
        await broker.publish([asked, theirs, ours])
        await system.settled()
    assert [(row["sequence"], row["type"]) for row in rows(url)][:2] == [
        (1, "CreateUserRequested"),
        (3, "CreateUserConfirmed"),
    ]


async def test_an_unreadable_message_is_set_aside_and_takes_no_other_with_it(service, broker, url):
    postings = answered(*(requested(email=f"{n}@example.org") for n in range(5)))
    bad = postings[4]
    postings[4] = Posting(bad.stream, bad.subject, b"\xff", bad.headers)
    await_rows = [sha256(posting) for posting in postings if posting.data != b"\xff"]
    async with running(service, broker=broker) as system:
        await broker.publish(postings)
        await system.settled()
        assert system.dead_letters == ["UNDECODABLE"]
    kept = [r["sha256"] for r in rows(url) if r["type"] != "UserAddedToWarehouse"]
    assert kept == await_rows


async def test_an_id_that_stands_for_two_bodies_is_set_aside(service, broker, url):
    request = requested()
    twice = [Envelope.opening(body, source="test") for body in (request, confirmed(request))]
    async with running(service, broker=broker) as system:
        await broker.publish([envelope.posting() for envelope in twice])
        await system.settled()
        assert system.dead_letters == ["ID_REUSED"]
    assert [row["type"] for row in rows(url)] == ["CreateUserRequested"]


async def test_a_moment_that_no_row_can_hold_is_set_aside(service, broker, url):
    far = confirmed()
    far.created_at.seconds = 10**12
    async with running(service, broker=broker) as system:
        await system.send(confirmed(), far)
        assert system.dead_letters == ["NOT_A_ROW"]
    assert {row["type"] for row in rows(url)} == {"CreateUserConfirmed", "UserAddedToWarehouse"}


async def test_the_audit_is_told_every_row_and_every_user(service, warehouse, broker, url):
    async with running(service, broker=broker) as system:
        await broker.publish(postings := answered(requested(), requested(email="b@example.org")))
        await system.settled()
    told = {h.message_id: h async for h in warehouse.accounted("data-warehouse-users", 1, 4)}
    assert {id: h.sha256.hex() for id, h in told.items()} == {
        posting.headers["ce-id"]: sha256(posting) for posting in postings
    }
    users = [row.event async for row in warehouse.users(datetime(2020, 1, 1, tzinfo=UTC))]
    assert sorted(u.SerializeToString() for u in users) == sorted(p.data for p in postings[1::2])
    assert [row async for row in warehouse.users(datetime(2100, 1, 1, tzinfo=UTC))] == []


@pytest.mark.parametrize(
    "name",
    [
        *("a\r\nBcc: b@c.org", "nul\0", "line\u2028separator", "🎉" * 100, "<script>"),
        *("{{7*7}}", "'; drop table users; --", "x" * 100),
    ],
)
async def test_a_name_is_kept_as_exactly_that_text(service, broker, url, name):
    async with running(service, broker=broker) as system:
        await system.send(confirmed(display_name=name))
        assert system.dead_letters == []
    assert rows(url)[0]["display_name"] == name


async def test_of_users_only_the_one_without_an_address_has_no_row(service, broker, url):
    users = [confirmed(email=""), confirmed(locale="tlh-Latn-x-klingon")]
    async with running(service, broker=broker) as system:
        await system.send(*users)
        assert system.dead_letters == ["INVALID"]
    kept = [row for row in rows(url) if row["type"] == "CreateUserConfirmed"]
    assert [row["locale"] for row in kept] == ["tlh-Latn-x-klingon"]
