"""The limit: what a careful engineer writes by hand for this one job, and for nothing else.

nats-py with asyncpg or sqlite3: fetch 256, one transaction, publish all, ack. No inbox, no trials,
no metrics, no drain; a crash between commit and publish answers a taken address the second time.
"""

import asyncio
import os
import sqlite3
import uuid
from datetime import UTC, datetime

import asyncpg
import nats
from acme.users.v1 import CreateUserRequested
from nats.errors import TimeoutError as NothingWaiting
from outcomes import DURABLE, STREAM, confirmed, rejected

COLUMNS = "user_id, request_id, email, email_normalised, display_name, locale, created_at"
CREATE = (
    "CREATE TABLE users (user_id TEXT PRIMARY KEY, request_id TEXT UNIQUE, email TEXT,"
    " email_normalised TEXT UNIQUE, display_name TEXT, locale TEXT, created_at {time})"
)
INTO_SQLITE = f"INSERT INTO users ({COLUMNS}) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"  # noqa: S608 - a constant
INTO_POSTGRESQL = (
    f"INSERT INTO users ({COLUMNS}) SELECT * FROM"  # noqa: S608 - a constant
    " unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],"
    " $7::timestamptz[]) ON CONFLICT DO NOTHING RETURNING request_id, user_id"
)


def row(request):
    user_id, now = str(uuid.uuid4()), datetime.now(UTC)
    key = request.email.casefold()
    return (
        user_id,
        request.request_id,
        request.email,
        key,
        request.display_name,
        request.locale,
        now,
    )


class Sqlite:
    async def __aenter__(self):
        path = os.environ["BENCH_DATABASE"].partition("///")[2]
        self.database = sqlite3.connect(path)
        self.database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self.database.execute(CREATE.format(time="TEXT"))
        return self

    async def __aexit__(self, *_):
        self.database.close()

    async def created(self, rows):
        rows = [(*values, at.isoformat()) for *values, at in rows]
        with self.database:
            before = self.database.total_changes
            self.database.executemany(INTO_SQLITE, rows)
            if self.database.total_changes - before == len(rows):
                return {request_id: user_id for user_id, request_id, *_ in rows}
            marks = ",".join("?" * len(rows))
            asked = f"SELECT request_id, user_id FROM users WHERE request_id IN ({marks})"  # noqa: S608 - marks
            return dict(self.database.execute(asked, [values[1] for values in rows]))


class PostgreSQL:
    async def __aenter__(self):
        url = os.environ["BENCH_DATABASE"].replace("+asyncpg", "")
        self.connection = await asyncpg.connect(url)
        await self.connection.execute(CREATE.format(time="TIMESTAMPTZ"))
        self.insert = await self.connection.prepare(INTO_POSTGRESQL)
        return self

    async def __aexit__(self, *_):
        await self.connection.close()

    async def created(self, rows):
        columns = list(zip(*rows, strict=True))
        won = dict(tuple(found) for found in await self.insert.fetch(*columns))
        if others := [values[1] for values in rows if values[1] not in won]:
            asked = "SELECT request_id, user_id FROM users WHERE request_id = ANY($1)"
            won |= dict(tuple(found) for found in await self.connection.fetch(asked, others))
        return won


async def handle(broker, database, deliveries):
    requests = [CreateUserRequested.FromString(delivery.data) for delivery in deliveries]
    won = await database.created([row(request) for request in requests])
    answers = [
        confirmed(r, won[r.request_id]) if r.request_id in won else rejected(r) for r in requests
    ]
    await asyncio.gather(*(broker.publish(s, b, headers=h) for s, b, h in answers))
    for delivery in deliveries:
        await delivery.ack()


async def main():
    stores = {"sqlite": Sqlite, "postgresql": PostgreSQL}
    client = await nats.connect(os.environ["SEAWAY_NATS_URL"])
    broker = client.jetstream()
    pull = await broker.pull_subscribe_bind(consumer=DURABLE, stream=STREAM)
    async with stores[os.environ["BENCH_DATABASE"].partition("+")[0]]() as database:
        while True:
            try:
                deliveries = await pull.fetch(256, timeout=2)
            except NothingWaiting:
                continue
            await handle(broker, database, deliveries)


asyncio.run(main())
