"""One contact at which the CRM fails, among others, fails alone. An outage is nobody's fault."""

import pytest
from acme.users.v1 import UserAddedToCrm
from crm.blame import MOST, Blame
from crm.calling import NoAnswer
from crm.fake import Faults
from hypothesis import given
from hypothesis import strategies as st
from seaway.envelope import Envelope
from seaway.errors import NotNow
from seaway.testing import running
from waiting import until

CURSED = "eve@cursed.org"
FAILS = [
    Faults(only="@cursed.", status=500),
    Faults(only="@cursed.", status=200, body="<html>"),
    Faults(only="@cursed.", disconnect="before"),
    Faults(only="@cursed.", padding=1_100_000),
]


async def sent(system, fake, *users):
    """Have these confirmed, and wait until they are contacts, whatever becomes of others."""
    await system.broker.publish([Envelope.opening(u, source="test").posting() for u in users])
    await until(lambda: {user.email for user in users} <= fake.contacts.keys(), within=30)


@pytest.mark.parametrize("faults", FAILS, ids=lambda f: str(f.status or f.disconnect or "large"))
async def test_a_contact_at_which_the_crm_fails_stops_nobody_else(quick, fake, confirmed, faults):
    users, cursed = [confirmed() for _ in range(30)], confirmed(CURSED)
    fake.faults = faults
    async with running(quick) as system:
        await system.broker.publish([Envelope.opening(cursed, source="test").posting()])
        await sent(system, fake, *users)
        while not system.dead_letters and len(users) < 500:  # it takes some others to prove it
            users.append(confirmed())
            await sent(system, fake, users[-1])
        await system.settled(30.0)
    assert system.dead_letters == ["FAILED_TOO_OFTEN"]
    added = [m.user_id for m in system.published if isinstance(m, UserAddedToCrm)]
    assert sorted(added) == sorted(user.user_id for user in users)


async def test_a_failure_with_others_or_the_first_one_alone_is_the_crms(hubspot, fake, confirmed):
    cursed, other = confirmed(CURSED), confirmed()
    fake.faults = Faults(only="@cursed.", status=500)
    for call in ([cursed, other], [cursed], [cursed]):  # nobody was taken in between
        with pytest.raises(NoAnswer):
            await hubspot.upsert(call)
    assert await hubspot.upsert([other]) == {}
    with pytest.raises(NoAnswer):
        await hubspot.upsert([cursed, other])
    failed = await hubspot.upsert([cursed])
    assert isinstance(failed[cursed.request_id], NotNow)
    with pytest.raises(NoAnswer):  # and again nobody was
        await hubspot.upsert([cursed])


async def test_an_outage_after_better_days_costs_no_attempt_however_long(quick, fake, confirmed):
    async with running(quick) as system:
        await system.send(confirmed())
        fake.faults = Faults(status=500, times=60)
        await system.send(*(confirmed() for _ in range(5)), within=30.0)
    assert fake.calls["500"] == 60
    assert system.dead_letters == []
    assert len(fake.contacts) == len(system.published) == 6


async def test_an_answer_in_which_nobody_is_taken_proves_nothing(hubspot, fake, confirmed):
    cursed = confirmed(CURSED)
    fake.faults = Faults(only="@cursed.", status=500)
    with pytest.raises(NoAnswer):
        await hubspot.upsert([cursed])
    fake.faults = Faults(partial={"@": "CONFLICT"})
    assert len(await hubspot.upsert([confirmed(), confirmed()])) == 2
    fake.faults = Faults(status=500)
    with pytest.raises(NoAnswer):
        await hubspot.upsert([cursed])


@given(st.lists(st.sampled_from(["taken", "a", "b", "c"]), max_size=60))
def test_who_is_to_blame_failed_before_and_others_were_taken_since(story):
    blame, last = Blame(), {}
    for at, event in enumerate(story):
        if event == "taken":
            blame.others_were_taken()
            continue
        expected = event in last and "taken" in story[last[event] : at]
        assert blame.falls_on(event) == expected
        last[event] = at


def test_only_so_many_are_remembered():
    blame = Blame()
    for number in range(MOST + 1):
        blame.falls_on(str(number))
    blame.others_were_taken()
    assert blame.falls_on(str(MOST))
    assert not blame.falls_on("0")
