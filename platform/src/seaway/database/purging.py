"""Letting go of a little of an inbox at a time, whoever else is at it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from seaway.database.inbox_tables import inbox_table, trials_table

AT_MOST = 1000
"""Rows of each table that go in one transaction, so that it is short."""


async def purged(
    connection: AsyncConnection, durable: str, first: int, before: datetime
) -> Sequence[str]:
    """Delete the next of the rows that are older than both; return the messages' ids.

    Only the first rows in the order of the stream are looked at: the oldest are there, and no
    statement reads the whole table to find that nothing is to be done.
    """
    if not await _is_alone(connection, durable):
        return ()
    c = inbox_table.c
    of_durable = select(c.message_id, c.handled_at).where(c.durable == durable, c.sequence < first)
    foremost = of_durable.order_by(c.sequence, c.message_id).limit(AT_MOST).subquery()
    handled = select(foremost.c.message_id).where(foremost.c.handled_at < before)
    t = trials_table.c
    tried = select(t.message_id).where(t.durable == durable, t.at < before).limit(AT_MOST)
    gone = list(await connection.scalars(handled)), list(await connection.scalars(tried))
    for table, ids in zip((inbox_table, trials_table), gone, strict=True):
        await _delete(connection, table, durable, ids)
    return gone[0] + gone[1]


async def _is_alone(connection: AsyncConnection, durable: str) -> bool:
    """Whether no other replica does the same; until the end of the transaction none will.

    SQLite has one writer anyway.
    """
    if connection.dialect.name != "postgresql":
        return True
    lock = func.hashtextextended(f"seaway/purge/{durable}", 0)
    return bool(await connection.scalar(select(func.pg_try_advisory_xact_lock(lock))))


async def _delete(
    connection: AsyncConnection, table: Table, durable: str, ids: Sequence[str]
) -> None:
    if ids:
        these = (table.c.durable == durable, table.c.message_id.in_(ids))
        await connection.execute(delete(table).where(*these))
