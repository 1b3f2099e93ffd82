"""FastAPI and SQLModel, as many would write it: one POST, one insert, one commit, 201."""

import os
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import select
from users_table import User, create_table, engine_for, fields

engine = engine_for(os.environ["BENCH_DATABASE"])
sessions = async_sessionmaker(engine, expire_on_commit=False)


class SignUp(BaseModel):
    request_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    email: str = Field(max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]+$")
    display_name: str = Field(min_length=1, max_length=100)
    locale: str = ""


class SignedUp(BaseModel):
    request_id: str
    user_id: str


async def session():
    async with sessions() as opened:
        yield opened


@asynccontextmanager
async def lifespan(_):
    await create_table(engine)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/sign-ups", status_code=201)
async def sign_up(asked: SignUp, session: Annotated[AsyncSession, Depends(session)]) -> SignedUp:
    user = User(**fields(asked))
    session.add(user)
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        chosen = select(User).where(User.request_id == asked.request_id)
        user = (await session.execute(chosen)).scalar_one_or_none()
        if user is None:
            raise HTTPException(409, "the address is taken") from error
    return SignedUp(request_id=user.request_id, user_id=user.user_id)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), log_level="warning", access_log=False)
