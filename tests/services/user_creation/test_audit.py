"""What user creation tells the audit: what it has handled, and which users it has."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from acme.users.v1 import CreateUserConfirmed
from seaway.audit import Kind, Told, audited, fingerprint, telling
from seaway.broker import Posting
from seaway.database import Database, SqlInbox
from seaway.dead_letters import discard
from seaway.errors import DependencyDown
from seaway.testing import MemoryBroker, running
from sqlalchemy import update
from user_creation.service import user_creation
from user_creation.users import PAGE, SqlUsers, users

EVER = datetime(1970, 1, 1, tzinfo=UTC)
DURABLE = "user-creation-create-user-requested"


async def lines(service, **asked):
    asked = {"stream": "USERS"} | asked
    return [json.loads(line) async for line in telling(service)(asked)]


def ask(*services):
    """Ask services without the network between."""

    async def ask(question):
        told = [Told(service.name) for service in services]
        for service, one in zip(services, told, strict=True):
            async for line in telling(service)(question.parameters()):
                one.add(json.loads(line))
        return told

    return ask


async def test_it_tells_what_it_has_handled_and_no_personal_data(service, database, requested):
    ada, again = requested("ada@example.org"), requested("ada@example.org", locale="fr")
    async with running(service) as system:
        await system.send(ada)
        await system.send(again)
    user = [row async for row in service.projections[0].rows(EVER)]
    confirmed = [m for m in system.published if isinstance(m, CreateUserConfirmed)]
    records = [
        {
            "durable": DURABLE,
            "sequence": sequence,
            "message_id": request.request_id,
            "outcome": "ack",
            "sha256": sha256(request.SerializeToString()).hexdigest(),
        }
        for sequence, request in ((1, ada), (3, again))
    ]
    told = await lines(service)
    assert told == [
        {"service": "user-creation"},
        {"durable": DURABLE, "start": "beginning", "kept": True},
        *records,
        {"projection": "acme.users.v1.CreateUserConfirmed"},
        {
            "row": "acme.users.v1.CreateUserConfirmed",
            "key": ada.request_id,
            "at": user[0].at.isoformat(),
            "outcome": "kept",
            "sha256": fingerprint(confirmed[0]).hex(),
        },
        {"end": True},
    ]
    assert "example.org" not in json.dumps(told)
    assert [line for line in await lines(service, **{"from": "2"}) if "message_id" in line] == (
        records[1:]
    )
    assert [line for line in await lines(service, to="2") if "message_id" in line] == records[:1]
    assert await lines(service, stream="OTHER") == [{"service": "user-creation"}, {"end": True}]


async def test_a_row_is_told_as_exactly_the_event_that_was_published(service, requested):
    async with running(service) as system:
        await system.send(*(requested(f"{n}@example.org", locale="de-AT") for n in range(3)))
    told = {row.event.request_id: row.event async for row in service.projections[0].rows(EVER)}
    assert told == {event.request_id: event for event in system.published}


async def test_only_rows_added_since_are_told(service, database, requested):
    async with running(service) as system:
        await system.send(old := requested("old@example.org"))
        await system.send(new := requested("new@example.org"))
    then = datetime(2026, 1, 1, tzinfo=UTC)
    async with database.transaction() as connection:
        one_is_old = update(users).where(users.c.request_id == old.request_id)
        await connection.execute(one_is_old.values(created_at=then - timedelta(microseconds=1)))
        one_is_not = update(users).where(users.c.request_id == new.request_id)
        await connection.execute(one_is_not.values(created_at=then))
    for since in (then, then.astimezone(tz=None)):
        told = await lines(service, since=since.isoformat())
        assert [line["key"] for line in told if "row" in line] == [new.request_id]


async def test_more_than_a_page_is_told_completely(service, requested):
    requests = [requested(f"{n}@example.org") for n in range(PAGE + 1)]
    async with running(service) as system:
        await system.send(*requests, within=30)
    told, ids = await lines(service), {request.request_id for request in requests}
    assert {line["message_id"] for line in told if "message_id" in line} == ids
    assert {line["key"] for line in told if "row" in line} == ids
    assert len(told) == 4 + 2 * len(requests)


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({}, "say which stream"),
        ({"stream": "USERS", "from": "one"}, "invalid literal"),
        ({"stream": "USERS", "since": "yesterday"}, "Invalid isoformat"),
    ],
)
async def test_a_question_that_is_not_understood_is_refused(service, asked, wrong):
    with pytest.raises(ValueError, match=wrong):
        await anext(telling(service)(asked))


async def test_what_it_tells_adds_up_with_the_stream(service, requested):
    broker = MemoryBroker(hurried=True)
    async with running(service, broker=broker) as system:
        requests = [requested(f"{n % 5}@example.org") for n in range(8)]
        await system.send(*requests)
    report = await audited(broker, ask(service))
    assert report.summary() == ("accepted 8  outcomes 8  dead letters 0  pending 0  unaccounted 0")


async def test_what_is_redriven_or_delivered_again_adds_up(service, requested):
    broker = MemoryBroker(hurried=True)
    async with running(service, broker=broker) as system:
        await system.send(requested("a@example.org"), requested("b@example.org"))
        await system.deliver_all_again()
    assert (await audited(broker, ask(service))).is_clean


@pytest.fixture
def clock():
    # Long before the rows, so that whether they are old enough decides nothing.
    return [datetime(2020, 1, 1, 12, tzinfo=UTC)]


@pytest.fixture
async def broker(service, requested, clock):
    """One user of twelve o'clock, and one of one o'clock."""
    broker = MemoryBroker(lambda: clock[0], hurried=True)
    async with running(service, broker=broker) as system:
        await system.send(requested("a@example.org"))
        clock[0] += timedelta(hours=1)
        await system.send(requested("b@example.org"))
    return broker


async def test_since_leaves_out_what_is_older(service, broker, clock):
    report = await audited(broker, ask(service), clock[0])
    assert report.summary().startswith("accepted 1  outcomes 1 ")
    assert report.is_clean
    outcome = broker.messages("USERS")[1]
    await broker.remove("USERS", outcome.sequence)
    (difference,) = (await audited(broker, ask(service), clock[0])).differences
    assert difference.kind is Kind.NO_EVENT  # the row is new, and its event is nowhere
    (difference,) = (await audited(broker, ask(service))).differences
    assert difference.kind is Kind.NO_OUTCOME
    nothing = await audited(broker, ask(service), datetime.now(UTC) + timedelta(hours=1))
    assert nothing.summary().startswith("accepted 0  outcomes 0 ")


async def test_since_finds_what_is_wrong(service, broker, clock, database):
    outcome = broker.messages("USERS")[-1]
    await broker.remove("USERS", outcome.sequence)
    (difference,) = (await audited(broker, ask(service), clock[0])).differences
    assert (difference.kind, difference.key) == (
        Kind.NO_OUTCOME,
        outcome.subject.rpartition(".")[2],
    )


async def test_since_takes_an_outcome_that_came_late_for_what_it_is(service, broker, clock):
    late = broker.messages("USERS")[1]
    await broker.remove("USERS", late.sequence)
    await broker.publish([Posting("USERS", late.subject, late.data, late.headers)])
    assert (await audited(broker, ask(service), clock[0])).is_clean


async def test_since_takes_a_redrive_of_something_handled_before_for_what_it_is(
    service, broker, clock
):
    first = broker.messages("USERS")[0]
    subject = f"users.v1.redrive.{DURABLE}.1"
    await broker.publish([Posting("USERS", subject, first.data, first.headers)])
    async with running(service, broker=broker) as system:
        await system.settled()
    assert (await audited(broker, ask(service), clock[0])).is_clean


async def test_what_a_person_threw_away_is_accounted_for_and_what_just_vanished_is_not(service):
    broker = MemoryBroker(hurried=True)
    async with running(service, broker=broker) as system:
        for number in (1, 2):
            subject = f"users.v1.create-requested.0000000{number}-bad0-bad0-bad0-000000000000"
            headers = {"ce-type": "acme.users.v1.CreateUserRequested"}
            await broker.publish([Posting("USERS", subject, b"\xff%d" % number, headers)])
        await system.settled()
    report = await audited(broker, ask(service))
    assert (report.is_clean, len(report.letters)) == (True, 2)
    first, second = report.letters
    assert await discard(broker, first)
    report = await audited(broker, ask(service))
    assert (report.is_clean, report.letters) == (True, (second,))
    await broker.remove("DEAD", second.sequence)
    (difference,) = (await audited(broker, ask(service))).differences
    assert (difference.kind, difference.sequence) == (Kind.LOST, 2)
    assert not await discard(broker, second)
    assert len((await audited(broker, ask(service))).differences) == 1


async def test_a_database_that_is_away_is_no_empty_answer(tmp_path):
    away = Database("postgresql+asyncpg://127.0.0.1:1/none", "user_creation", tmp_path)
    with pytest.raises(DependencyDown):
        await lines(user_creation(SqlUsers(away), SqlInbox(away)))
