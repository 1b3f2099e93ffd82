"""The service killed at each point of a mail's life: real process, real broker, real mail server.

E1, fetched, is U1; E4, recorded and not acked, is U3, U4 and U5. U2 lies where E3 does.
"""

import json

import pytest
from mail_server import MailServer
from seaway.testing import Crash, crash_points, killed_at

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

COMMAND = ["python", "-m", "welcome_email"]
ONCE = ("U1", "U3", "U4", "U5")
AMBIGUOUS = ("E2", "E3", "U2")


def cases(points, on_postgresql):
    """Every point on SQLite; on PostgreSQL, which differs in nothing but the database, some."""
    both = {"sqlite": crash_points(*points), "postgresql": on_postgresql}
    return [pytest.param(k, c, id=f"{k}-{c}") for k, crashes in both.items() for c in crashes]


@pytest.fixture
def database_url(kind, request, tmp_path):
    """An empty database of this kind."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return request.getfixturevalue("postgresql").new_database()


def told(server, database_url):
    return {
        "SEAWAY_DATABASE_URL": database_url,
        "SEAWAY_SMTP_PORT": str(server.port),
        "SEAWAY_SMTP_TLS": "none",
    }


def actions(process):
    """What the log says of ambiguous mails, in order."""
    lines = [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]
    return [line["action"] for line in lines if line["event"] == "ambiguous"]


@pytest.mark.parametrize(("kind", "crash"), cases(ONCE, [Crash("U3")]))
async def test_a_death_outside_the_window_costs_nothing(crash, server, database_url, confirmed):
    async with killed_at(crash, COMMAND, told(server, database_url)) as system:
        await system.send(confirmed())
        assert await system.dead_letters() == []
        assert len(await system.published()) == 2
        assert actions(system.process) == []
    assert len(server.mails) == 1


@pytest.mark.parametrize(("kind", "crash"), cases(AMBIGUOUS, [Crash("E3", 2)]))
async def test_a_death_in_the_window_is_named(crash, server, database_url, confirmed):
    async with killed_at(crash, COMMAND, told(server, database_url)) as system:
        await system.send(confirmed())
        assert await system.dead_letters() == []
        assert len(await system.published()) == 2
        assert actions(system.process) == ["resend"] * crash.deliveries
    # At E2 nothing had been handed over; after that, once for each death.
    extra = 0 if crash.point == "E2" else crash.deliveries
    assert len(server.mails) == 1 + extra
    assert len({mail["Message-ID"] for mail in server.parsed()}) == 1


async def test_who_would_rather_send_too_little_has_it_parked(tmp_path, confirmed):
    async with MailServer() as server:
        settings = told(server, f"sqlite+aiosqlite:///{tmp_path}/park.db")
        settings["SEAWAY_MAIL_AMBIGUOUS"] = "park"
        crash = Crash("E3")
        async with killed_at(crash, COMMAND, settings) as system:
            await system.send(confirmed())
            assert await system.dead_letters() == ["AMBIGUOUS"]
            assert actions(system.process) == ["park"]
    assert len(server.mails) == 1


async def test_a_log_names_nobody(server, tmp_path, confirmed):
    settings = told(server, f"sqlite+aiosqlite:///{tmp_path}/log.db")
    server.say("RCPT", "450 <canary@example.org> is busy, says Canaria")
    crash = Crash("E2")
    async with killed_at(crash, COMMAND, settings) as system:
        await system.send(confirmed(email="canary@example.org", name="Canaria"))
        assert "Deferred" in system.process.said
        assert "anar" not in system.process.said
    assert len(server.mails) == 1
