"""The users of every peer but the limit: the same columns as user_creation's, with SQLModel."""

from datetime import UTC, datetime
from uuid import uuid4

from acme.users.v1.address import normalised
from sqlalchemy import DateTime, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel

CONNECTIONS = 16
"""As many as our own services have."""


class User(SQLModel, table=True):
    __tablename__ = "users"

    user_id: str = Field(primary_key=True)
    request_id: str = Field(unique=True)
    email: str
    email_normalised: str = Field(unique=True)
    display_name: str
    locale: str
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


def fields(request):
    """A request as the columns of a new user."""
    return {
        "user_id": str(uuid4()),
        "request_id": request.request_id,
        "email": request.email,
        "email_normalised": normalised(request.email),
        "display_name": request.display_name,
        "locale": request.locale,
        "created_at": datetime.now(UTC),
    }


def engine_for(url):
    """A pool as one would tune it; what SQLite has committed is on the disk, as with ours."""
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0)
    # One writer is all that SQLite has: 16 connections that poll for its lock made 52 commits/s.
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=600)
    event.listen(engine.sync_engine, "connect", _be_durable)
    return engine


async def create_table(engine):
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)


def _be_durable(connection, _):
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
