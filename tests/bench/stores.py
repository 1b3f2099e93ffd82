"""Databases, a new one for each round: a file, or one of the one PostgreSQL of the run."""

from contextlib import contextmanager

from postgresql import PostgreSQL
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

KINDS = ("sqlite", "postgresql")


class Stores:
    """Where databases come from."""

    def __init__(self, server):
        self.server = server

    def new(self, kind, folder):
        """Return the URL of an empty database."""
        if kind == "sqlite":
            return f"sqlite+aiosqlite:///{folder}/store.db"
        return self.server.new_database()

    @property
    def pid(self):
        """The server; its children do the work."""
        return self.server.server.pid


@contextmanager
def stores():
    """Run one PostgreSQL with fsync on, and room for every side's connections."""
    with PostgreSQL("shared_buffers=256MB", "max_wal_size=4GB") as server:
        yield Stores(server)


async def count(url, table):
    """How many rows a table has."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608 - our own names
    finally:
        await engine.dispose()


def our_users(url):
    """The name of the table of user_creation: on PostgreSQL it lies in a schema of its own."""
    return "users" if url.startswith("sqlite") else "user_creation.users"
