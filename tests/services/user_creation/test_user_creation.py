"""The user-creation service, from request to outcome."""

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from seaway.database import SqlInbox, inbox_table, trials_table
from seaway.envelope import Envelope
from seaway.errors import DependencyDown
from seaway.process import Process
from seaway.testing import MemoryBroker, running
from sqlalchemy import delete, event, select
from user_creation.__main__ import build
from user_creation.service import user_creation
from user_creation.users import SqlUsers, User, users

VARIANTS = ["ada@münchen.de", "ADA@MÜNCHEN.DE", "ada@mu\u0308nchen.de", "Ada@xn--mnchen-3ya.de"]


async def stored(database):
    async with database.reading() as connection:
        return [*await connection.execute(select(users).order_by(users.c.email))]


async def forget(database, table):
    async with database.transaction() as connection:
        await connection.execute(delete(table))


async def answers(service, *requests):
    """Return what is stored for the requests by a broker that has never heard of any."""
    broker = MemoryBroker(hurried=True)
    async with running(service, broker=broker) as system:
        await system.send(*requests)
    assert system.dead_letters == []
    return {m.subject: (m.data, m.headers) for m in broker.messages("USERS")[len(requests) :]}


async def test_whoever_asks_first_becomes_a_user(service, database, requested):
    ada = requested("Ada@Example.org", name="Ada Łovelace", locale="de-AT")
    async with running(service) as system:
        await system.send(ada)
    (outcome,) = system.published
    (row,) = await stored(database)
    assert outcome == CreateUserConfirmed(
        request_id=ada.request_id,
        user_id=row.user_id,
        email="Ada@Example.org",
        display_name="Ada Łovelace",
        locale="de-AT",
        created_at=outcome.created_at,
    )
    assert (row.request_id, row.email) == (ada.request_id, "Ada@Example.org")
    assert row.email_normalised == "ada@example.org"
    assert outcome.created_at.ToDatetime() == row.created_at.replace(tzinfo=None)


async def test_a_name_that_no_database_holds_takes_nobody_with_it(service, database, requested):
    """A gateway refuses it. Somebody else may publish it, by the rules of his own language."""
    fine, worse = requested("ada@example.org"), requested("eve@example.org", name="Eve\0")
    async with running(service) as system:
        await system.send(fine, worse)
    assert system.dead_letters == ["INVALID"]
    assert [row.email for row in await stored(database)] == ["ada@example.org"]


async def test_a_taken_address_costs_no_statement_more_than_a_free_one(database, requested):
    async def statements(request):
        said = []
        async with database.transaction() as connection:
            ours = connection.sync_connection
            event.listen(ours, "before_cursor_execute", lambda *told: said.append(told[2]))
            created = await SqlUsers(database).add([request])
        return request.request_id in created, len(said)

    was_free, for_free = await statements(requested("ada@example.org"))
    taken_was_free, for_taken = await statements(requested("ADA@example.org"))
    assert (was_free, taken_was_free) == (True, False)
    assert for_free == for_taken


async def test_a_taken_address_is_rejected_so_that_its_owner_can_be_told(service, requested):
    again = requested("ADA@example.org", locale="fr")
    async with running(service) as system:
        await system.send(requested("ada@example.org"))
        await system.send(again)
    assert system.published[1:] == [
        CreateUserRejected(
            request_id=again.request_id,
            reason=CreateUserRejected.REASON_EMAIL_TAKEN,
            email="ADA@example.org",
            locale="fr",
        )
    ]


@pytest.mark.parametrize("first", VARIANTS)
async def test_of_one_address_typed_in_many_ways_the_first_of_a_batch_wins(
    service, database, requested, first
):
    requests = [requested(first), *(requested(v) for v in VARIANTS), requested("b@example.org")]
    async with running(service) as system:
        await system.send(*requests)
    confirmed = [m.request_id for m in system.published if isinstance(m, CreateUserConfirmed)]
    assert confirmed == [requests[0].request_id, requests[-1].request_id]
    assert [row.email for row in await stored(database)] == sorted([first, "b@example.org"])
    assert len(system.published) == len(requests)


async def test_a_message_that_comes_again_has_no_effect(service, database, requested):
    requests = [requested("ada@example.org"), requested("ada@example.org"), requested("b@b.org")]
    async with running(service) as system:
        await system.send(*requests)
        before = (await stored(database), list(system.published))
        await system.deliver_all_again()
    assert (await stored(database), system.published) == before
    assert system.dead_letters == []


async def test_a_message_that_comes_again_is_answered_byte_for_byte_as_before(service, requested):
    requests = [requested("ada@example.org"), requested("ada@example.org"), requested("b@b.org")]
    first = await answers(service, *requests)
    assert len(first) == 3
    assert await answers(service, *requests) == first
    assert await answers(service, *reversed(requests)) == first


async def test_a_rejection_stays_one_when_the_address_has_become_free(
    service, database, requested
):
    await answers(service, requested("ada@example.org"))
    too_late = requested("ada@example.org")
    first = await answers(service, too_late)
    await forget(database, users)
    assert await answers(service, too_late) == first
    assert await stored(database) == []
    (subject,) = await answers(service, requested("ada@example.org"))
    assert ".create-confirmed." in subject


async def test_a_confirmation_stays_one_when_the_user_is_gone(service, database, requested):
    ada = requested("ada@example.org")
    first = await answers(service, ada)
    await forget(database, users)
    assert await answers(service, ada) == first
    assert await stored(database) == []


async def test_a_row_of_the_same_request_is_a_confirmation_even_if_the_inbox_forgot(
    service, database, requested
):
    ada, late = requested("ada@example.org"), requested("ADA@example.org")
    async with running(service) as before:
        await before.send(ada, late)
    await forget(database, inbox_table)
    async with running(service) as after:
        await after.send(late, ada)
    by_request = {outcome.request_id: outcome for outcome in before.published}
    assert {outcome.request_id: outcome for outcome in after.published} == by_request


class FailOnce(SqlUsers):
    """Users in SQL, whose database goes away when the first ones have been added."""

    async def add(self, requests):
        created = await super().add(requests)
        if not seen_ids:
            seen_ids.extend(user.user_id for user in created.values())
            raise DependencyDown("the cable was pulled")
        return created


seen_ids: list[str] = []


async def test_what_was_rolled_back_leaves_nothing_and_the_next_attempt_is_the_same(
    database, requested
):
    seen_ids.clear()
    async with running(user_creation(FailOnce(database), SqlInbox(database))) as system:
        await system.send(requested("ada@example.org"))
    (outcome,) = system.published
    assert [outcome.user_id] == seen_ids
    assert [row.user_id for row in await stored(database)] == seen_ids


async def test_user_ids_do_not_tell_the_request(service, requested):
    ada = requested("ada@example.org")
    async with running(service) as system:
        await system.send(ada)
    assert ada.request_id not in system.published[0].user_id


async def test_the_migrations_make_what_the_models_say(database):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(
            context, [User.metadata, inbox_table.metadata, trials_table.metadata]
        )

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_choosing_the_outside_world_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEAWAY_DATABASE_URL", raising=False)
    service = build(Process("user-creation"))
    assert [s.durable for s in service.subscriptions] == ["user-creation-create-user-requested"]
    assert list(tmp_path.iterdir()) == []


async def test_a_correlation_is_kept_from_request_to_outcome(service, requested):
    ada = requested("ada@example.org")
    ((_, headers),) = (await answers(service, ada)).values()
    assert headers["ce-correlationid"] == headers["ce-causationid"] == ada.request_id
    reply = Envelope.opening(ada, "test").reply(
        CreateUserConfirmed(request_id=ada.request_id), "user-creation-create-user-requested"
    )
    assert headers["ce-id"] == reply.id
