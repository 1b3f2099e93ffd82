"""Who we speak to, and how fast: TLS with a certificate of our own, passwords, the rate."""

import asyncio

import pytest
from mail_server import MailServer, self_signed
from pydantic import ValidationError
from seaway.errors import DependencyDown, SettingsError
from waiting import until
from welcome_email import smtp
from welcome_email.letters import Letter
from welcome_email.rate import TokenBucket
from welcome_email.settings import WelcomeEmailSettings
from welcome_email.smtp import Relay, Unconfirmed

LETTER = Letter(
    "welcome@acme.example", "ada@example.org", b"Subject: Hi\r\n\r\nHi\r\n", needs_utf8=False
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


async def send(settings):
    async with Relay(settings) as relay, relay.line() as line:
        await line.send(LETTER)


@pytest.mark.parametrize("tls", ["tls", "starttls"])
async def test_a_server_that_we_trust_gets_the_mail_and_the_password(tls, certificate, settings):
    async with MailServer(tls=tls, certificate=certificate, password="open") as server:
        await send(
            settings(
                server=server,
                smtp_tls=tls,
                smtp_ca_file=str(certificate),
                smtp_username="seaway",
                smtp_password="open",
            )
        )
    assert len(server.mails) == 1
    assert server.logins == ["seaway"]


@pytest.mark.parametrize("tls", ["tls", "starttls"])
async def test_a_server_that_nobody_vouches_for_gets_nothing(tls, certificate, settings):
    async with MailServer(tls=tls, certificate=certificate, password="open") as server:
        told = settings(server=server, smtp_tls=tls, smtp_username="me", smtp_password="open")
        with pytest.raises(DependencyDown):
            await send(told)
    assert (server.mails, server.logins) == ([], [])


async def test_authorities_that_cannot_be_read_are_not_the_fault_of_any_mail(tmp_path, settings):
    with pytest.raises(DependencyDown, match="FileNotFoundError"):
        await send(settings(smtp_tls="starttls", smtp_ca_file=str(tmp_path / "away.pem")))


async def test_a_server_that_offers_no_tls_gets_nothing(server, settings):
    with pytest.raises(DependencyDown):
        await send(settings(smtp_tls="starttls"))
    assert server.mails == []


async def test_a_wrong_password_is_not_the_fault_of_any_mail(certificate, settings):
    async with MailServer(tls="starttls", certificate=certificate, password="open") as server:
        with pytest.raises(DependencyDown, match="SMTPAuthenticationError 535") as caught:
            await send(
                settings(
                    server=server,
                    smtp_tls="starttls",
                    smtp_ca_file=str(certificate),
                    smtp_username="seaway",
                    smtp_password="guessed",
                )
            )
    assert "guessed" not in str(caught.value)


async def test_nobody_there_is_a_dependency_that_is_away(server, settings):
    await server.close()
    with pytest.raises(DependencyDown):
        await send(settings())


async def test_a_server_that_says_nothing_is_away(settings):
    async def silence(reader, writer):
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        with pytest.raises(DependencyDown):
            await send(settings(smtp_port=port, smtp_timeout=0.2))


async def test_a_server_too_slow_for_all_our_mail_is_away_and_not_for_one_of_them(
    server, settings, monkeypatch
):
    async with Relay(settings(smtp_connections=1)) as relay:

        async def post():
            async with relay.line() as line:
                await line.send(LETTER)

        await post()
        server.seconds = 1.5
        monkeypatch.setattr(smtp, "LINE_WITHIN", 0.5)
        sent, late = await asyncio.gather(post(), post(), return_exceptions=True)
        assert sent is None
        assert isinstance(late, DependencyDown)
        assert "no line to the mail server in 0.5 s" in str(late)
        # What gave up waiting holds nothing: the line is there for the next.
        await post()
    assert len(server.mails) == 3


@pytest.mark.parametrize("away", ["new", "used"])
async def test_a_line_that_is_given_up_while_it_is_made_is_closed(away, settings, monkeypatch):
    class Slow(MailServer):
        async def handle_RSET(self, server, session, envelope):  # noqa: N802
            await asyncio.sleep(30)
            return "250 OK"

        async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802
            session.host_name = hostname
            await asyncio.sleep(30 if away == "new" else 0)
            return responses

    async with Slow() as server, Relay(settings(server=server)) as relay:
        if away == "used":
            async with relay.line() as line:
                await line.send(LETTER)
        monkeypatch.setattr(smtp, "LINE_WITHIN", 0.2)
        with pytest.raises(DependencyDown, match="no line"):
            async with relay.line() as line:
                await line.send(LETTER)
        await until(lambda: not server.open, within=5)


@pytest.mark.parametrize(
    ("slow", "error"), [(("MAIL", "RCPT"), DependencyDown), (("DATA", "."), Unconfirmed)]
)
async def test_a_server_that_is_slow_again_and_again_has_no_more_time_for_it(
    slow, error, settings
):
    """Each answer comes in time, and both together do not."""

    async def answer(reader, writer):
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode():
            word = line.split()[0].upper() if line.strip() else ""
            if word in {"EHLO", "MAIL", "RCPT", "DATA", "."}:
                await asyncio.sleep(0.6 if word in slow else 0)
                writer.write(b"354 go on\r\n" if word == "DATA" else b"250 mail.example\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        with pytest.raises(error):
            await send(settings(smtp_port=port, smtp_timeout=1.0))


def test_a_password_in_a_mounted_file_is_found_and_not_shown(tmp_path, monkeypatch):
    (tmp_path / "smtp_password").write_text("open sesame")
    (tmp_path / "smtp_username").write_text("seaway")
    monkeypatch.setenv("SEAWAY_SECRETS_DIR", str(tmp_path))
    settings = WelcomeEmailSettings.from_environment()
    assert settings.smtp_password.get_secret_value() == "open sesame"
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({"SEAWAY_MAIL_FROM": "nobody"}, "SEAWAY_MAIL_FROM"),
        ({"SEAWAY_MAIL_FROM": "a@b.example, c@d.example"}, "SEAWAY_MAIL_FROM"),
        ({"SEAWAY_MAIL_FROM": "a@b.example\r\nBcc: c@d.example"}, "SEAWAY_MAIL_FROM"),
        ({"SEAWAY_MAIL_FROM": "jürgen@b.example"}, "SEAWAY_MAIL_FROM"),
        ({"SEAWAY_SMTP_PER_SECOND": "1.9"}, "SEAWAY_SMTP_PER_SECOND"),
        ({"SEAWAY_SMTP_TIMEOUT": "11"}, "SEAWAY_SMTP_TIMEOUT"),
        ({"SEAWAY_SMTP_TLS": "ssl"}, "SEAWAY_SMTP_TLS"),
        (
            {
                "SEAWAY_SMTP_TLS": "none",
                "SEAWAY_SMTP_HOST": "mail.example",
                "SEAWAY_SMTP_USERNAME": "me",
                "SEAWAY_SMTP_PASSWORD": "open sesame",
            },
            "SEAWAY_SMTP_TLS",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(told, names, monkeypatch):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=names) as refused:
        WelcomeEmailSettings.from_environment()
    assert "sesame" not in str(refused.value)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        WelcomeEmailSettings().smtp_host = "elsewhere"


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


async def test_the_rate_is_kept_and_a_pause_earns_a_second_at_most():
    clock = Clock()
    bucket = TokenBucket(10, clock, clock.sleep)
    for _ in range(30):
        await bucket.take()
    assert clock.now == pytest.approx(2.0)
    clock.now += 60
    before = clock.now
    for _ in range(20):
        await bucket.take()
    assert clock.now - before == pytest.approx(1.0)


async def test_those_who_wait_are_let_through_one_after_the_other():
    waits = []

    async def note(seconds):
        waits.append(seconds)

    bucket = TokenBucket(2, lambda: 0.0, note)
    await asyncio.gather(*(bucket.take() for _ in range(6)))
    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0])


async def test_no_rate_is_no_wait():
    clock = Clock()
    bucket = TokenBucket(0, clock, clock.sleep)
    for _ in range(1000):
        await bucket.take()
    assert clock.now == 0.0
