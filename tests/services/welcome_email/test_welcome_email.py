"""From message to mail, and to what is said of it: real mail server, both databases."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from acme.users.v1 import CreateUserRejected, SignUpEmailHandled
from prometheus_client import REGISTRY
from seaway.envelope import Envelope
from seaway.errors import NotNow, Raced
from seaway.inbox import Handled
from seaway.testing import MemoryBroker
from sqlalchemy import text
from waiting import until
from welcome_email.ledger import Ledger, Reservation
from welcome_email.pace import Pace

GREETING = "welcome-email-create-user-confirmed"
TODAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def counted(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def states(database):
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT state, attempts FROM mails ORDER BY at"))
        return [tuple(row) for row in found]


async def test_a_new_user_is_greeted_and_it_is_said(database, server, system, confirmed):
    ada = confirmed()
    async with system(database) as running:
        await running.send(ada)
        (said,) = running.published
    (mail,) = server.parsed()
    assert mail["To"] == "ada@example.org"
    assert "Hello Ada," in mail.get_body(("plain",)).get_content()
    assert server.envelopes == [("welcome@acme.example", ("ada@example.org",))]
    assert (said.request_id, said.user_id) == (ada.request_id, ada.user_id)
    assert said.kind == SignUpEmailHandled.KIND_GREETING
    assert await states(database) == [("SENT", 1)]


async def test_after_a_redelivery_nothing_is_sent_and_the_same_is_said(
    database, server, system, confirmed, rejected
):
    broker = MemoryBroker(hurried=True)
    async with system(database, broker) as running:
        await running.send(confirmed(), rejected())
        before = [m.data for m in broker.messages("USERS")]
        await running.deliver_all_again()
        assert [m.data for m in broker.messages("USERS")] == before
        assert running.dead_letters == []
    assert len(server.mails) == 2


async def test_another_process_on_the_same_ledger_sends_nothing_either(
    database, server, system, confirmed, kinds
):
    broker = MemoryBroker(hurried=True)
    async with system(database, broker) as first:
        await first.send(confirmed())
    async with system(database, broker) as second:
        await second.deliver_all_again()
        assert kinds(second).count("KIND_GREETING") == 1
    assert len(server.mails) == 1


async def test_what_is_delivered_again_while_it_is_sent_is_sent_once(
    lite, server, system, confirmed
):
    """The broker was away for longer than an ack wait, and asks again meanwhile."""
    server.seconds = 0.5
    broker = MemoryBroker()
    async with system(lite, broker) as running, asyncio.TaskGroup() as tasks:
        tasks.create_task(running.send(confirmed()))
        await until(lambda: server.open)
        broker.forget_acks()
    async with system(lite, broker) as running:
        await running.settled()
        assert running.dead_letters == []
    assert len(server.mails) == 1
    assert await states(lite) == [("SENT", 1)]


async def test_of_what_another_process_has_in_hand_only_one_is_on_record(database, confirmed):
    opening = Envelope.opening(confirmed(), "test")
    told = SignUpEmailHandled(request_id=opening.id, kind=SignUpEmailHandled.KIND_GREETING)
    told.at.GetCurrentTime()
    sent = Handled("m", 1, b"").answered((opening.reply(told, GREETING).posting(),))
    one, other = Ledger(database), Ledger(database)
    async with one.transaction(GREETING) as handling:
        await handling.find(["m"])
        with pytest.raises(NotNow):
            async with one.transaction(GREETING) as again:
                await again.find(["m"])
        async with other.transaction(GREETING) as elsewhere:
            await elsewhere.find(["m"])
            assert await other.reserve("m", 1) is Reservation.MADE
            assert await one.reserve("m", 1) is Reservation.FOUND
            await elsewhere.record([sent])
        with pytest.raises(Raced, match="SENT"):
            await one.reserve("m", 1)
    assert one.in_hand == other.in_hand == set()


async def test_what_the_ledger_knows_of_a_mail_goes_with_what_the_inbox_knows(
    database, system, confirmed
):
    async with system(database) as running:
        await running.send(confirmed(), confirmed())
    ledger, ever, now = Ledger(database), datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC)
    places = [handled.sequence async for handled in ledger.accounted(GREETING, 1, 1000)]
    assert await ledger.purge(GREETING, max(places), now - timedelta(days=1)) == 0
    assert await ledger.purge(GREETING, max(places), now + timedelta(days=1)) == 1
    assert await states(database) == [("SENT", 1)]
    assert len([row async for row in ledger.handled(ever)]) == 1
    left = [handled.sequence async for handled in ledger.accounted(GREETING, 1, 1000)]
    assert left == [max(places)]


async def test_the_owner_of_a_taken_address_is_told_once_a_day(
    database, server, system, rejected, kinds
):
    now = [TODAY]
    async with system(database, clock=lambda: now[0]) as running:
        await running.send(rejected("ada@example.org"))
        await running.send(rejected("ADA@EXAMPLE.ORG"))
        now[0] += timedelta(days=1)
        await running.send(rejected("ada@example.org"))
        assert kinds(running) == ["KIND_NOTICE", "KIND_NOTICE_SUPPRESSED", "KIND_NOTICE"]
    assert [m["To"] for m in server.parsed()] == ["ada@example.org"] * 2
    assert all("tried to sign up" in m["Subject"] for m in server.parsed())


async def test_however_an_address_is_written_its_owner_is_told_once(
    lite, server, system, rejected, kinds
):
    written = ["zoë@bücher.example", "ZOE\u0308@xn--bcher-kva.example", "Zoë@BÜCHER.example"]
    async with system(lite, clock=lambda: TODAY) as running:
        for each in written:
            await running.send(rejected(each))
        assert kinds(running) == ["KIND_NOTICE"] + ["KIND_NOTICE_SUPPRESSED"] * 2
    assert len(server.mails) == 1


async def test_many_who_try_one_address_at_once_cause_one_mail(
    database, server, system, rejected, kinds
):
    async with system(database, clock=lambda: TODAY) as running:
        # Each of them takes as long as the mail did, eight at once.
        await running.send(*(rejected() for _ in range(40)), within=60.0)
        assert sorted(kinds(running)) == ["KIND_NOTICE"] + ["KIND_NOTICE_SUPPRESSED"] * 39
    assert len(server.mails) == 1


async def test_a_notice_that_is_not_sent_takes_as_long_as_the_last_mail(
    lite, server, system, rejected, kinds
):
    server.seconds = 0.3
    async with system(lite, clock=lambda: TODAY) as running:
        await running.send(rejected())
        begun = time.monotonic()
        await running.send(rejected())
        assert time.monotonic() - begun >= 0.3
        assert kinds(running) == ["KIND_NOTICE", "KIND_NOTICE_SUPPRESSED"]
    assert len(server.mails) == 1


class Waiting(Pace):
    """A pace that is kept until it is told otherwise."""

    def __init__(self):
        super().__init__()
        self.kept, self.enough = asyncio.Event(), asyncio.Event()

    async def keep(self):
        self.kept.set()
        await self.enough.wait()


async def test_it_keeps_nobody_else_from_the_mail_server_meanwhile(
    lite, server, system, confirmed, rejected
):
    pace = Waiting()
    async with system(lite, clock=lambda: TODAY, pace=pace, smtp_connections=1) as running:
        await running.send(rejected())
        suppressed = asyncio.create_task(running.send(rejected(), within=60.0))
        await pace.kept.wait()
        greeted = asyncio.create_task(running.send(confirmed(), within=60.0))
        await until(lambda: len(server.mails) == 2)
        pace.enough.set()
        await asyncio.gather(suppressed, greeted)


async def test_a_notice_that_failed_leaves_the_day_to_the_next(
    database, server, system, rejected, kinds
):
    server.say("RCPT", "550 no such user")
    async with system(database, clock=lambda: TODAY) as running:
        await running.send(rejected())
        await running.send(rejected())
        assert running.dead_letters == ["NO_SUCH_MAILBOX"]
        assert kinds(running) == ["KIND_NOTICE"]


@pytest.mark.parametrize("reason", [CreateUserRejected.REASON_UNSPECIFIED, 77])
async def test_other_rejections_cause_no_mail_and_are_said_to(
    lite, server, system, rejected, kinds, reason
):
    async with system(lite) as running:
        await running.send(rejected(reason=reason))
        assert kinds(running) == ["KIND_NO_MAIL"]
    assert server.mails == []


async def test_a_greeting_older_than_a_week_is_skipped_and_counted(
    lite, server, system, confirmed, kinds
):
    before = counted("seaway_emails_total", outcome="greeting_stale")
    late = datetime.now(UTC) + timedelta(days=7, minutes=1)
    async with system(lite, clock=lambda: late) as running:
        await running.send(confirmed())
        assert kinds(running) == ["KIND_GREETING_STALE"]
    assert server.mails == []
    assert counted("seaway_emails_total", outcome="greeting_stale") == before + 1
    assert await states(lite) == [("SKIPPED", 0)]


async def test_a_greeting_just_under_a_week_old_is_sent(lite, server, system, confirmed):
    late = datetime.now(UTC) + timedelta(days=7, minutes=-1)
    async with system(lite, clock=lambda: late) as running:
        await running.send(confirmed())
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        ("", "NO_ADDRESS"),
        ("ada", "BAD_ADDRESS"),
        ("ada lovelace@example.org", "BAD_ADDRESS"),
        ("ada@exa mple.org", "BAD_ADDRESS"),
        ("ada@example.org\r\nBcc: eve@example.org", "BAD_ADDRESS"),
        ("<ada@example.org>", "BAD_ADDRESS"),
    ],
)
async def test_an_address_that_reaches_nobody_is_set_aside(
    lite, server, system, rejected, email, reason
):
    async with system(lite) as running:
        await running.send(rejected(email))
        assert running.dead_letters == [reason]
        assert running.published == []
    assert server.connections == 0


async def test_an_event_without_an_address_breaks_its_contract(lite, server, system, confirmed):
    async with system(lite) as running:
        await running.send(confirmed(email=""))
        assert running.dead_letters == ["INVALID"]


async def test_what_was_done_is_told_to_the_audit_as_it_was_said(
    database, server, system, confirmed, rejected
):
    async with system(database) as running:
        await running.send(confirmed(), rejected(), rejected())
        said = sorted(running.published, key=lambda m: m.request_id)
    rows = [row async for row in Ledger(database).handled(datetime(2020, 1, 1, tzinfo=UTC))]
    assert sorted((row.event for row in rows), key=lambda m: m.request_id) == said
    assert all(row.at.tzinfo for row in rows)
