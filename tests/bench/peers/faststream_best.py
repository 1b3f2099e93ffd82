"""FastStream at its best: batches of 256, one transaction each, everything published at once."""

import asyncio
import os

from acme.users.v1 import CreateUserRequested
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from outcomes import DURABLE, PATIENCE, REQUESTS, STREAM, confirmed, rejected, store
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from users_table import User, create_table, engine_for, fields

engine = engine_for(os.environ["BENCH_DATABASE"])
dialect = {"sqlite": sqlite, "postgresql": postgresql}[engine.dialect.name]
broker = NatsBroker(os.environ["SEAWAY_NATS_URL"], logger=None)
app = FastStream(broker, logger=None)
stream = JStream(STREAM, declare=False)
outcomes = broker.publisher("users.v1.>", stream=stream, timeout=PATIENCE)
users = User.__table__
INSERT = (
    dialect.insert(users).on_conflict_do_nothing().returning(users.c.request_id, users.c.user_id)
)


@app.on_startup
async def prepare():
    await create_table(engine)


async def created(requests):
    """Insert all in one transaction; return the users that exist because of these requests."""
    rows = {request.request_id: fields(request) for request in requests}
    async with engine.begin() as connection:
        won = dict(tuple(row) for row in await connection.execute(INSERT, list(rows.values())))
        if others := rows.keys() - won.keys():
            columns = select(users.c.request_id, users.c.user_id)
            chosen = columns.where(users.c.request_id.in_(others))
            won |= dict(tuple(row) for row in await connection.execute(chosen))
    return won


@broker.subscriber(
    REQUESTS,
    stream=stream,
    durable=DURABLE,
    pull_sub=PullSub(batch_size=256, timeout=0.05, batch=True),
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def create_users(bodies: list[bytes]):
    requests = [CreateUserRequested.FromString(body) for body in bodies]
    won = await created(requests)
    answers = [
        confirmed(request, won[request.request_id])
        if request.request_id in won
        else rejected(request)
        for request in requests
    ]
    await asyncio.gather(*(store(outcomes, answer) for answer in answers))


if __name__ == "__main__":
    asyncio.run(app.run())
