"""The tables of an inbox: what was handled, and what was tried in vain."""

from typing import Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)

inbox_table = Table(
    "inbox",
    MetaData(),
    Column("durable", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False, server_default="ack"),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("replies", Text, nullable=False),
    Column("handled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("inbox_by_sequence", "durable", "sequence"),
)
"""Each row: one message that one durable is done with."""


trials_table = Table(
    "trials",
    MetaData(),
    Column("durable", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("failures", Integer, nullable=False, default=0),
    Column("kills", Integer, nullable=False, default=0),
    Column("begun_by", Text),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Each row: one message that was tried and not handled. `begun_by`: a trial is not over yet."""


class Operations(Protocol):
    """What we use of Alembic's `op`, which no running service imports."""

    def get_bind(self) -> Connection:
        """Return the connection of the migration."""


def create_inbox(op: Operations) -> None:
    """Create both tables, in a service's first migration: `create_inbox(op)`, op of Alembic."""
    inbox_table.create(op.get_bind())
    trials_table.create(op.get_bind())
