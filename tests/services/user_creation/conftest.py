"""The user-creation service on a real database of either kind."""

from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserRequested
from seaway.database import Database, SqlInbox
from user_creation.service import user_creation
from user_creation.users import MIGRATIONS, SqlUsers


@pytest.fixture
async def database(database_url):
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        await database.migrate()
        yield database


@pytest.fixture
async def another(database, database_url):
    """The same database, as another replica sees it."""
    async with Database(database_url, "user_creation", MIGRATIONS) as another:
        yield another


@pytest.fixture
def service(database):
    return user_creation(SqlUsers(database), SqlInbox(database))


@pytest.fixture
def requested():
    """Return a function that makes a request."""

    def make(email, *, name="Ada", locale="en"):
        request_id = str(uuid4())
        return CreateUserRequested(
            request_id=request_id, email=email, display_name=name, locale=locale
        )

    return make
