"""FastStream as its documentation shows it: one message, one session, one commit, one publish.

Tuned as far as that form goes: 64 messages at a time, handled at once; no log line for each
message; a message whose handler failed comes again instead of being dropped, as it is by default.
"""

import asyncio
import os

from acme.users.v1 import CreateUserRequested
from faststream import AckPolicy, Depends, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from outcomes import DURABLE, PATIENCE, REQUESTS, STREAM, confirmed, rejected, store
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import select
from users_table import User, create_table, engine_for, fields

engine = engine_for(os.environ["BENCH_DATABASE"])
sessions = async_sessionmaker(engine, expire_on_commit=False)
broker = NatsBroker(os.environ["SEAWAY_NATS_URL"], logger=None)
app = FastStream(broker, logger=None)
stream = JStream(STREAM, declare=False)
outcomes = broker.publisher("users.v1.>", stream=stream, timeout=PATIENCE)


async def session():
    async with sessions() as opened:
        yield opened


@app.on_startup
async def prepare():
    await create_table(engine)


@broker.subscriber(
    REQUESTS,
    stream=stream,
    durable=DURABLE,
    pull_sub=PullSub(batch_size=64, timeout=1.0),
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def create_user(body: bytes, session: AsyncSession = Depends(session)):  # noqa: B008
    request = CreateUserRequested.FromString(body)
    user = User(**fields(request))
    session.add(user)
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        chosen = select(User).where(User.request_id == request.request_id)
        user = (await session.execute(chosen)).scalar_one_or_none()
    await store(outcomes, confirmed(request, user.user_id) if user else rejected(request))


if __name__ == "__main__":
    asyncio.run(app.run())
