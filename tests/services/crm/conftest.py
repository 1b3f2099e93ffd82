"""The CRM service, and a fake CRM that it calls over HTTP."""

from dataclasses import replace
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed
from crm.calling import Calls, Token
from crm.fake import FakeCrm, serving
from crm.hubspot import HubSpot
from crm.pace import Pace
from crm.service import crm
from crm.settings import MIGRATIONS
from seaway.database import Database, SqlInbox
from seaway.inbox import MemoryInbox


@pytest.fixture
async def fake():
    async with serving(FakeCrm()) as fake:
        yield fake


@pytest.fixture
async def calls(fake):
    async with Calls(fake.url, Token("fake"), Pace(100_000)) as calls:
        yield calls


@pytest.fixture
def hubspot(calls):
    return HubSpot(calls)


@pytest.fixture
async def database(database_url):
    async with Database(database_url, "crm", MIGRATIONS) as database:
        await database.migrate()
        yield database


@pytest.fixture
def service(hubspot, database):
    return crm(hubspot, SqlInbox(database))


@pytest.fixture
def quick(hubspot):
    """The same without SQL, and without the second in which a batch may fill."""
    service = crm(hubspot, MemoryInbox())
    service.subscriptions = [replace(each, within=0.02) for each in service.subscriptions]
    return service


@pytest.fixture
def confirmed():
    """Return a function that makes a user who has just been confirmed."""

    def make(email=None, *, name="Ada", locale="en", **fields):
        request_id = str(uuid4())
        user = CreateUserConfirmed(
            request_id=request_id,
            user_id=str(uuid4()),
            email=email or f"{request_id}@example.org",
            display_name=name,
            locale=locale,
            **fields,
        )
        user.created_at.GetCurrentTime()
        return user

    return make
