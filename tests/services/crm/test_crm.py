"""The CRM service, from event to contact."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from acme.users.v1 import UserAddedToCrm
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from crm.__main__ import build
from crm.fake import Faults
from seaway.audit import fingerprint
from seaway.database import inbox_table, trials_table
from seaway.process import Process
from seaway.testing import MemoryBroker, running

EVER = datetime(1970, 1, 1, tzinfo=UTC)


def properties_of(fake, user):
    return fake.contacts[user.email.lower()]["properties"]


async def test_a_new_user_becomes_a_contact(service, fake, confirmed):
    ada = confirmed("Ada@Example.org", name="Ada Łovelace", locale="de-AT")
    async with running(service) as system:
        await system.send(ada)
    [said] = system.published
    assert said == UserAddedToCrm(request_id=ada.request_id, user_id=ada.user_id, at=said.at)
    told = properties_of(fake, ada)
    assert told["email"] == "ada@example.org"
    assert told["firstname"] == "Ada Łovelace"
    assert told["seaway_user_id"] == ada.user_id


async def test_users_who_wait_together_are_sent_together(service, fake, confirmed):
    users = [confirmed() for _ in range(250)]
    async with running(service) as system:
        await system.send(*users)
    assert len(system.published) == len(fake.contacts) == 250
    assert fake.calls["200"] in (3, 4)  # the first fetch may find less than a hundred


async def test_a_message_that_comes_again_is_not_sent_again_and_says_the_same(
    service, fake, confirmed
):
    users = [confirmed() for _ in range(3)]
    async with running(service) as system:
        await system.send(*users)
        before = list(system.published)
        await system.deliver_all_again()
    assert system.published == before
    assert fake.calls["upserted"] == 3


async def test_what_a_broker_has_lost_is_said_again_byte_for_byte(service, fake, confirmed):
    users = [confirmed() for _ in range(3)]

    async def said_to_a_new_broker():
        broker = MemoryBroker(hurried=True)
        async with running(service, broker=broker) as system:
            await system.send(*users)
        return {m.subject: (m.data, m.headers) for m in broker.messages("USERS")[3:]}

    assert await said_to_a_new_broker() == await said_to_a_new_broker()
    assert fake.calls["upserted"] == 3


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nBcc: b@c.org",
        "nul\0",
        "line\u2028separator",
        "👩‍🚀" * 25,
        "🎉" * 100,
        "<script>",
        "{{7*7}}",
        "𝕬",
    ],
)
async def test_a_name_arrives_as_exactly_that_text(quick, fake, confirmed, name):
    user = confirmed(name=name)
    async with running(quick) as system:
        await system.send(user)
    assert properties_of(fake, user)["firstname"] == name
    assert system.dead_letters == []


async def test_of_a_batch_only_what_is_refused_is_set_aside(quick, fake, confirmed):
    fake.faults = Faults(partial={"@refused.": "VALIDATION_ERROR"})
    users = [confirmed() for _ in range(20)] + [confirmed("b@refused.org"), confirmed("a@b.org")]
    async with running(quick) as system:
        await system.send(*users)
    assert system.dead_letters == ["CRM_REFUSED"]
    assert len(fake.contacts) == len(system.published) == 21
    assert fake.calls["207"] == 1
    assert fake.calls["upserted"] == 21


async def test_what_may_pass_is_tried_again_alone(quick, fake, confirmed):
    fake.faults = Faults(partial={"@busy.": "CONFLICT"}, times=2)
    async with running(quick) as system:
        await system.send(confirmed("a@busy.org"), confirmed(), confirmed())
    assert system.dead_letters == []
    assert len(system.published) == 3
    assert fake.calls["upserted"] == 3
    assert fake.calls["207"] == 2


async def test_what_the_answer_does_not_mention_is_tried_again(quick, fake, confirmed):
    fake.faults = Faults(silent="@quiet.", times=1)
    async with running(quick) as system:
        await system.send(confirmed("a@quiet.org"), confirmed())
    assert len(system.published) == 2
    assert len(fake.contacts) == 2
    assert fake.calls["upserted"] == 3


async def test_one_that_makes_the_crm_refuse_all_is_found_and_only_it_is_set_aside(
    quick, fake, confirmed
):
    users = [confirmed() for _ in range(30)] + [confirmed("no address")]
    async with running(quick) as system:
        await system.send(*users)
    assert system.dead_letters == ["CRM_REFUSED"]
    assert len(fake.contacts) == len(system.published) == 30


@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=500, times=3),
        Faults(status=503, times=3),
        Faults(status=401, times=3),
        Faults(status=404, times=3),
        Faults(status=302, location="http://127.0.0.1:9/", times=3),
        Faults(disconnect="before", times=3),
        Faults(disconnect="after", times=3),
        Faults(padding=1_100_000, times=3),
        Faults(status=200, body="<html>please log in</html>", times=3),
        Faults(status=400, body='{"errors": [{"code": "PROPERTY_DOESNT_EXIST"}]}', times=3),
    ],
    ids=str,
)
async def test_a_crm_that_is_away_or_talks_nonsense_costs_no_message(
    quick, fake, confirmed, faults
):
    fake.faults = replace(faults)
    async with running(quick) as system:
        await system.send(*(confirmed() for _ in range(5)))
    assert system.dead_letters == []
    assert len(fake.contacts) == len(system.published) == 5
    assert fake.faults == Faults(), "the fault did not happen"


async def test_two_users_with_one_address_are_sent_one_after_the_other(quick, fake, confirmed):
    first, second = confirmed("ada@example.org"), confirmed("ADA@example.org", name="Ada II")
    async with running(quick) as system:
        await system.send(first, confirmed(), second)
    assert system.dead_letters == []
    assert len(system.published) == 3
    assert properties_of(fake, first)["firstname"] == "Ada II"
    assert fake.calls["upserted"] == 3
    assert len(fake.contacts) == 2


async def test_the_contacts_are_told_as_the_events_that_they_came_from(
    quick, hubspot, fake, confirmed
):
    users = [confirmed(f"Person{n}@Example.org", name=f"nr {n}", locale="") for n in range(230)]
    async with running(quick) as system:
        await system.send(*users)
    fake.contacts["b@b.org"] = {"id": "999", "properties": {"email": "b@b.org"}}  # not ours
    rows = [row async for row in hubspot.added(EVER)]
    assert {fingerprint(row.event) for row in rows} == {fingerprint(user) for user in users}
    assert len(rows) == 230
    later = max(row.at for row in rows)
    assert [row async for row in hubspot.added(later)] == [r for r in rows if r.at == later]


async def test_of_users_only_the_one_without_an_address_is_set_aside(quick, fake, confirmed):
    nowhere, klingon = confirmed(), confirmed(locale="tlh-Latn-x-klingon")
    nowhere.email = ""
    async with running(quick) as system:
        await system.send(confirmed(), nowhere, klingon)
    assert system.dead_letters == ["INVALID"]
    assert len(fake.contacts) == 2
    assert properties_of(fake, klingon)["seaway_locale"] == "tlh-Latn-x-klingon"


@pytest.mark.parametrize("changed", ["firstname", "email", "seaway_user_id"])
async def test_a_contact_that_was_changed_is_told_as_it_is_now(
    quick, hubspot, fake, confirmed, changed
):
    ada = confirmed()
    async with running(quick) as system:
        await system.send(ada)
    properties_of(fake, ada)[changed] = "another@example.org"
    [row] = [row async for row in hubspot.added(EVER)]
    assert fingerprint(row.event) != fingerprint(ada)


async def test_the_migrations_make_what_the_inbox_needs(database):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, [inbox_table.metadata, trials_table.metadata])

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_choosing_the_outside_world_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEAWAY_DATABASE_URL", raising=False)
    service = build(Process("crm"))
    assert [s.durable for s in service.subscriptions] == ["crm-create-user-confirmed"]
    assert list(tmp_path.iterdir()) == []
