"""The welcome-email service on a real mail server, and a real database of either kind."""

from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, SignUpEmailHandled
from mail_server import MailServer
from seaway.database import Database
from seaway.testing import running
from welcome_email.ledger import MIGRATIONS, Ledger
from welcome_email.letters import Letters
from welcome_email.pace import Pace
from welcome_email.post import ByMail
from welcome_email.service import utc_now, welcome_email
from welcome_email.settings import WelcomeEmailSettings
from welcome_email.smtp import Relay


@pytest.fixture
def confirmed():
    """Return a function that makes the event of a new user."""

    def make(email="ada@example.org", name="Ada", locale="en"):
        return CreateUserConfirmed(
            request_id=str(uuid4()),
            user_id=str(uuid4()),
            email=email,
            display_name=name,
            locale=locale,
        )

    return make


@pytest.fixture
def rejected():
    """Return a function that makes the event of a refused request."""

    def make(email="ada@example.org", locale="en", reason=CreateUserRejected.REASON_EMAIL_TAKEN):
        return CreateUserRejected(
            request_id=str(uuid4()), reason=reason, email=email, locale=locale
        )

    return make


@pytest.fixture
async def server():
    async with MailServer() as server:
        yield server


@pytest.fixture
async def database(database_url):
    async with Database(database_url, "welcome_email", MIGRATIONS) as database:
        await database.migrate()
        yield database


@pytest.fixture
async def lite(tmp_path):
    """A database for what does not depend on its kind."""
    url = f"sqlite+aiosqlite:///{tmp_path}/lite/test.db"
    async with Database(url, "welcome_email", MIGRATIONS) as database:
        await database.migrate()
        yield database


def settings_for(server, **told):
    return WelcomeEmailSettings(**{"smtp_port": server.port, "smtp_tls": "none"} | told)


@pytest.fixture
def settings(server):
    """Return a function that makes settings for the mail server of this test."""
    return lambda **told: settings_for(told.pop("server", server), **told)


@pytest.fixture
def system(settings):
    """Return a function that runs the service on a database, as one process would."""

    @asynccontextmanager
    async def run(database, broker=None, clock=utc_now, pace=None, **told):
        chosen = settings(**told)
        ledger = Ledger(database)
        async with Relay(chosen) as relay:
            post = ByMail(
                Letters(chosen.sender), relay, ledger, chosen.resends, clock, pace or Pace()
            )
            service = welcome_email(post, ledger, clock)
            async with running(service, broker=broker) as system:
                yield system

    return run


@pytest.fixture
def kinds():
    """What was said to have been done, in order."""

    def said(system):
        handled = [m for m in system.published if isinstance(m, SignUpEmailHandled)]
        return [m.Kind.Name(m.kind) for m in handled]

    return said
