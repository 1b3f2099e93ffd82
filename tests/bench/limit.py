"""The limit: what a careful engineer writes by hand for this one job, and for nothing else.

nats-py and sqlite3: fetch 256, one transaction, publish all, ack. No inbox, no trials, no metrics,
no drain; a crash between commit and publish answers a taken address the second time.
"""

import asyncio
import os
import sqlite3
import uuid

import nats
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from nats.errors import TimeoutError as NothingWaiting

DURABLE = "user-creation-create-user-requested"


def created(database, requests):
    """Insert all in one transaction; return the request ids that won."""
    rows = [(r.request_id, r.email, r.email.casefold(), r.display_name) for r in requests]
    with database:
        before = database.total_changes
        database.executemany("INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)
        if database.total_changes - before == len(rows):
            return {row[0] for row in rows}
        marks = ",".join("?" * len(rows))
        found = database.execute(
            f"SELECT request_id FROM users WHERE request_id IN ({marks})",  # noqa: S608 - marks
            [row[0] for row in rows],
        )
        return {request_id for (request_id,) in found}


def answer(request, won):
    if request.request_id in won:
        fact, type_ = "create-confirmed", CreateUserConfirmed
        user_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, request.request_id))
        body = type_(request_id=request.request_id, user_id=user_id, email=request.email)
    else:
        fact, type_ = "create-rejected", CreateUserRejected
        body = type_(request_id=request.request_id, email=request.email)
    headers = {"ce-id": str(uuid.uuid4()), "ce-type": type_.DESCRIPTOR.full_name}
    return f"users.v1.{fact}.{request.request_id}", body.SerializeToString(), headers


async def main():
    database = sqlite3.connect(os.environ["BENCH_DATABASE"])
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    database.execute(
        "CREATE TABLE users (request_id TEXT PRIMARY KEY, email TEXT, key TEXT UNIQUE, name TEXT)"
    )
    client = await nats.connect(os.environ["SEAWAY_NATS_URL"])
    broker = client.jetstream()
    pull = await broker.pull_subscribe_bind(consumer=DURABLE, stream="USERS")
    while True:
        try:
            deliveries = await pull.fetch(256, timeout=2)
        except NothingWaiting:
            break
        requests = [CreateUserRequested.FromString(d.data) for d in deliveries]
        won = created(database, requests)
        answers = [answer(request, won) for request in requests]
        await asyncio.gather(*(broker.publish(s, b, headers=h) for s, b, h in answers))
        for delivery in deliveries:
            await delivery.ack()
    await client.close()


asyncio.run(main())
