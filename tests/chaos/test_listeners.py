"""Each listener is away for a third of the time and killed twice: in the end each has everything.

Compared here is what the outside world holds, by id and by content: the mails that a real mail
server has taken, the contacts of the CRM, the rows of the table. `run.check` has the services
themselves tell, and runs `seaway audit`.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, SignUpEmailHandled
from listeners import DURABLES, READY_WITHIN, caught_up, listening
from runner import Run
from seaway.contract import address_of
from seaway.jetstream import JetStream
from sign_ups import a_request
from waiting import until

TAKEN = 10
"""One in so many asks for an address that somebody has."""
A_MAIL = 0.02
"""Seconds that the mail server takes for each, so that a kill can fall in between."""
MAILED = {SignUpEmailHandled.KIND_GREETING, SignUpEmailHandled.KIND_NOTICE}


def somebody(dice):
    """Make people who sign up; some of them with the address of somebody else."""
    addresses = []

    def ask():
        if len(addresses) % TAKEN == TAKEN - 1:
            addresses.append("")
            return a_request(email=dice.choice([each for each in addresses if each]))
        request = a_request()
        addresses.append(request.email)
        return request

    return ask


@dataclass
class Told:
    """All that the stream says."""

    messages: Counter = field(default_factory=Counter)
    """By id and hash."""
    confirmed: dict = field(default_factory=dict)
    """Each user, by the id of the event."""
    rejected: dict = field(default_factory=dict)
    mailed: set = field(default_factory=set)
    """Requests whose outcome was followed by a mail."""

    @classmethod
    async def by(cls, broker):
        told = cls()
        async for stored in broker.scan("USERS", "users.v1.>"):
            id = stored.headers["ce-id"]
            told.messages[id, hashlib.sha256(stored.data).hexdigest()] += 1
            subject = stored.subject.rpartition(".")[0]
            if subject == address_of(CreateUserConfirmed).subject:
                told.confirmed[id] = CreateUserConfirmed.FromString(stored.data)
            elif subject == address_of(CreateUserRejected).subject:
                told.rejected[id] = CreateUserRejected.FromString(stored.data)
            elif subject == address_of(SignUpEmailHandled).subject:
                handled = SignUpEmailHandled.FromString(stored.data)
                told.mailed |= {handled.request_id} if handled.kind in MAILED else set()
        return told

    @property
    def mails(self):
        """The messages that a mail belongs to."""
        outcomes = self.confirmed | self.rejected
        return {id for id, body in outcomes.items() if body.request_id in self.mailed}


async def strike(listener, broker):
    """Kill it while it has something in hand; say whether that is still so when it is dead."""

    async def has_in_hand():
        return (await broker.durables("USERS"))[DURABLES[listener.module]].ack_pending > 0

    await until(has_in_hand, within=120)
    process = listener.process
    assert listener.strike()
    await process.wait()
    return await has_in_hand()


async def disturb(run, them, load, people, dice):
    """Have each away for a third of all sign-ups, and killed in each of the other two."""
    third = people // 3
    async with JetStream(run.system.server.url, "test") as broker:
        await broker.connected()
        for number, away in enumerate(them.programs):
            began = len(run.history)
            run.fault(f"{away.name} stopped")
            assert await away.stop() == 0
            others = [each for each in them.programs if each is not away]
            moments = sorted(dice.sample(range(third), len(others)))
            for moment, other in zip(moments, others, strict=True):
                await load.begun(began + moment)
                run.fault(f"{other.name} killed")
                run.hits += await strike(other, broker)
            await load.begun(max(began + third, people * (number + 1) // 3))
            await away.start()
            for program in them.programs:
                await program.ready(READY_WITHIN)


def contact_of(user):
    """What is to be kept of a user, whoever keeps it."""
    moment = user.created_at.ToJsonString()
    return user.request_id, user.user_id, user.email, user.display_name, user.locale, moment


def content_of(contact):
    told = contact["properties"]
    names = ("request_id", "user_id", "email", "locale", "created_at")
    request_id, user_id, email, locale, moment = (told[f"seaway_{name}"] for name in names)
    return request_id, user_id, email, told["firstname"], locale, moment


def unlike(one, other):
    return ((one - other) + (other - one)).total()


@dataclass
class Kept:
    """What the outside world holds in the end, and what is wrong with it."""

    mails: Counter
    rows: Counter
    contacts: Counter
    named: Counter
    """Mails that may have been sent before, as the log says; and as the ledger says:"""
    repeated: Counter

    @classmethod
    async def by(cls, them):
        contacts = Counter(map(content_of, them.fake.contacts.values()))
        found = await them.rows(), contacts, them.ambiguous(), await them.repeated()
        return cls(them.mails(), *found)

    def compared(self, told):
        """Each figure with its target."""
        users = Counter(map(contact_of, told.confirmed.values()))
        twice = (self.mails - Counter(told.mails)).total()
        strangers = len(set(self.mails) ^ told.mails)
        return {
            "I4-mails missing or unexpected": (strangers, f"0 of {len(self.mails)}"),
            "I4-mails sent twice": (twice, f"<= {self.named.total()} that the log names"),
            "I5-rows that are not events": (
                unlike(self.rows, told.messages),
                f"0 of {len(self.rows)}",
            ),
            "I5-contacts that are not users": (unlike(self.contacts, users), f"0 of {len(users)}"),
        }


@pytest.mark.timeout(900)
async def test_each_listener_has_everything_whatever_became_of_it(
    tmp_path, store, size, goal, dice, capsys
):
    people = size(smoke=300, full=2_000)
    async with Run(tmp_path, store) as run, listening(run) as them:
        them.server.seconds = A_MAIL
        async with run.load(size(smoke=25.0, full=50.0), ask=somebody(dice)) as load:
            await disturb(run, them, load, people, dice)
        await caught_up(run)
        accepted = await run.check()
        async with JetStream(run.system.server.url, "test") as broker:
            await broker.connected()
            told = await Told.by(broker)
        kept = await Kept.by(them)
    with capsys.disabled():
        print(f"\n  {run.summary()}; {len(told.rejected)} turned away")
    found = kept.compared(told)
    for id, (value, target) in found.items():
        goal(id, value, target, hits=run.hits, least=3)
    assert accepted == len(run.history) >= people
    assert [program.kills for program in them.programs] == [2, 2, 2]
    assert told.confirmed.keys() <= told.mails
    assert kept.mails - Counter(told.mails) <= kept.named <= kept.repeated
    assert {id: value for id, (value, _) in found.items() if "twice" not in id and value} == {}
