"""A mail server that refuses, defers, hangs up, or is away; and what cannot be known after it."""

import pytest
from prometheus_client import REGISTRY
from seaway.dead_letters import letters, redrive
from seaway.errors import DependencyDown, Unprocessable
from seaway.outcome import is_away
from sqlalchemy import text
from structlog.testing import capture_logs
from welcome_email.letters import Letter
from welcome_email.smtp import Deferred, Relay, Unconfirmed

LETTER = Letter(
    "welcome@acme.example", "ada@example.org", b"Subject: Hello\r\n\r\nHello\r\n", False
)


def ambiguous(action="resend"):
    return REGISTRY.get_sample_value("seaway_emails_ambiguous_total", {"action": action}) or 0.0


async def states(database):
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT state, attempts FROM mails ORDER BY at"))
        return [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("step", "answer", "error", "said"),
    [
        ("MAIL", "421 closing", DependencyDown, "SMTPSenderRefused 421"),
        ("MAIL", "451 greylisted", DependencyDown, "SMTPSenderRefused 451"),
        ("MAIL", "553 not yours", DependencyDown, "SMTPSenderRefused 553"),
        ("MAIL", None, DependencyDown, "SMTPServerDisconnected"),
        ("RCPT", "450 mailbox busy", Deferred, "450"),
        ("RCPT", "452 full", Deferred, "452"),
        ("RCPT", "530 who are you", DependencyDown, "does not know us"),
        ("RCPT", "550 no such user", Unprocessable, "NO_SUCH_MAILBOX"),
        ("RCPT", "551 not here", Unprocessable, "NO_SUCH_MAILBOX"),
        ("RCPT", "552 too much", Unprocessable, "RECIPIENT_REFUSED"),
        ("RCPT", None, DependencyDown, "SMTPServerDisconnected"),
        ("DATA", "451 later", Deferred, "451"),
        ("DATA", "554 spam", Unprocessable, "MAIL_REFUSED"),
        ("DATA", None, Unconfirmed, "did not answer"),
        ("ANSWER", None, Unconfirmed, "did not answer"),
    ],
)
async def test_each_answer_means_one_thing(server, settings, step, answer, error, said):
    server.say(step, answer)
    async with Relay(settings()) as relay:
        with pytest.raises(error, match=said):
            async with relay.line() as line:
                await line.send(LETTER)
        # And the next mail goes through.
        async with relay.line() as line:
            await line.send(LETTER)
    assert len(server.mails) == (2 if step == "ANSWER" else 1)


def test_silence_after_a_mail_is_not_a_server_that_is_away():
    # Otherwise the mail would be sent again every few seconds, for as long as it lasts.
    assert not is_away(Unconfirmed())


async def test_no_error_holds_an_address_not_even_in_what_caused_it(server, settings):
    server.say("RCPT", "450 <ada@example.org> is busy")
    async with Relay(settings()) as relay:
        with pytest.raises(Deferred) as caught:
            async with relay.line() as line:
                await line.send(LETTER)
    assert "ada" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_connection_is_used_again(server, settings):
    async with Relay(settings(smtp_connections=1)) as relay:
        for _ in range(5):
            async with relay.line() as line:
                await line.send(LETTER)
    assert (server.connections, len(server.mails)) == (1, 5)


async def test_a_connection_that_the_server_has_closed_is_replaced(server, settings):
    async with Relay(settings()) as relay:
        for _ in range(2):
            async with relay.line() as line:
                await line.send(LETTER)
            await server.close()
            await server.listen()
    assert (server.connections, len(server.mails)) == (2, 2)


async def test_no_more_connections_than_allowed(lite, server, system, confirmed):
    async with system(lite, smtp_connections=2) as running:
        await running.send(*(confirmed() for _ in range(20)))
    assert len(server.mails) == 20
    assert server.most_at_once == 2


async def test_a_mail_that_is_deferred_is_sent_later_and_is_not_ambiguous(
    database, server, system, confirmed
):
    before = ambiguous()
    server.say("RCPT", "450 mailbox busy", times=3)
    async with system(database) as running:
        await running.send(confirmed(), within=30.0)
        assert running.dead_letters == []
    assert len(server.mails) == 1
    assert ambiguous() == before
    assert await states(database) == [("SENT", 1)]


async def test_the_tenth_time_is_the_last(database, server, system, confirmed):
    server.say("RCPT", "450 mailbox busy", times=10)
    async with system(database) as running:
        await running.send(confirmed(), within=30.0)
        assert running.dead_letters == ["FAILED_TOO_OFTEN"]
    assert server.mails == []
    assert await states(database) == []


async def test_a_mailbox_that_does_not_exist_is_set_aside_at_once(
    database, server, system, confirmed
):
    server.say("RCPT", "550 no such user")
    async with system(database) as running:
        await running.send(confirmed())
        assert running.dead_letters == ["NO_SUCH_MAILBOX"]
        assert running.published == []
    assert await states(database) == []


async def test_a_server_that_is_away_costs_no_attempts(database, server, system, confirmed):
    await server.close()
    async with system(database) as running:
        with pytest.raises(TimeoutError):
            await running.send(*(confirmed() for _ in range(12)), within=1.0)
        assert running.dead_letters == []
        assert await states(database) == []
        await server.listen()
        await running.settled(30.0)
        assert running.dead_letters == []
    assert len(server.mails) == 12


async def test_a_mail_cut_off_in_the_middle_is_sent_again_and_the_log_says_so(
    database, server, system, confirmed
):
    before = ambiguous()
    server.hang_up("DATA")
    with capture_logs() as logs:
        async with system(database) as running:
            await running.send(confirmed())
            assert running.dead_letters == []
    assert len(server.mails) == 1
    assert [log["action"] for log in logs if log["event"] == "ambiguous"] == ["resend"]
    assert ambiguous() == before + 1
    assert await states(database) == [("SENT", 2)]


async def test_a_mail_whose_answer_is_lost_comes_twice_under_one_id(
    database, server, system, confirmed
):
    server.hang_up("ANSWER")
    with capture_logs() as logs:
        async with system(database) as running:
            await running.send(confirmed())
    assert len(server.mails) == 2
    assert server.mails[0] == server.mails[1]
    assert [log["action"] for log in logs if log["event"] == "ambiguous"] == ["resend"]


async def test_what_is_ambiguous_stays_so_while_the_server_defers_it(
    lite, server, system, confirmed
):
    server.hang_up("ANSWER")
    server.say("RCPT", "")
    server.say("RCPT", "450 mailbox busy")
    async with system(lite) as running:
        await running.send(confirmed())
    assert len(server.mails) == 2
    assert await states(lite) == [("SENT", 3)]


async def test_it_is_not_sent_for_ever_if_no_answer_ever_comes(lite, server, system, confirmed):
    server.hang_up("ANSWER", times=99)
    async with system(lite) as running:
        await running.send(confirmed(), within=30.0)
        assert running.dead_letters == ["FAILED_TOO_OFTEN"]
    assert len(server.mails) == 10


async def test_an_ambiguous_mail_is_parked_if_told_so(database, server, system, confirmed):
    before = ambiguous("park")
    server.hang_up("ANSWER")
    async with system(database, mail_ambiguous="park") as running:
        await running.send(confirmed())
        assert running.dead_letters == ["AMBIGUOUS"]
        assert len(server.mails) == 1
        assert ambiguous("park") == before + 1
        # The broker may not have heard that it is set aside.
        await running.deliver_all_again()
        assert running.dead_letters == ["AMBIGUOUS"]
        assert len(server.mails) == 1
        assert ambiguous("park") == before + 1
        # Whoever sends the dead letter back wants it sent.
        async for letter in letters(running.broker):
            await redrive(running.broker, letter)
        await running.settled()
        assert running.dead_letters == []
        assert len(server.mails) == 2
        assert [state for state, _ in await states(database)] == ["SENT"]


async def test_a_mail_that_was_parked_is_parked_again_if_it_is_ambiguous_again(
    database, server, system, confirmed
):
    server.hang_up("ANSWER", times=2)
    async with system(database, mail_ambiguous="park") as running:
        await running.send(confirmed())
        async for letter in letters(running.broker):
            await redrive(running.broker, letter)
        await running.settled()
        assert running.dead_letters == ["AMBIGUOUS"]
        assert len(server.mails) == 2


async def test_a_notice_that_is_ambiguous_still_holds_the_day(
    database, server, system, rejected, kinds
):
    server.hang_up("ANSWER")
    async with system(database) as running:
        await running.send(rejected())
        await running.send(rejected())
        assert kinds(running) == ["KIND_NOTICE", "KIND_NOTICE_SUPPRESSED"]
