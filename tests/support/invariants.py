"""What must hold once the faults are over: I1, I2, I3, I6, I7 and I8 of the plan.

The history says what clients asked and were told, the broker and the database what is so. The
checker returns one sentence for each difference; a run is right if there is none.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from auditing import audit
from seaway.audit import settled
from seaway.jetstream import JetStream
from sign_ups import SignUp, clients, sign_up
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

QUIET_WITHIN = 180.0
"""The plan says 60 s; a machine that others use, too, has as long as three of them."""
ASKED_AGAIN = 300
"""Clients, at most, who ask once more at the end; those with trouble first."""
REQUESTED, CONFIRMED, REJECTED = (
    f"users.v1.create-{what}" for what in ("requested", "confirmed", "rejected")
)


@dataclass
class State:
    """What broker and database hold."""

    stored: dict[str, list[str]] = field(default_factory=dict)
    """Request ids by subject, as the stream USERS keeps them."""
    dead: list[tuple[str, str]] = field(default_factory=list)
    """Message id and reason of each dead letter."""
    users: list[tuple[str, str]] = field(default_factory=list)
    """Request id and normalised address of each row."""

    def keys(self, subject):
        return self.stored.get(subject, [])


async def users_of(database_url):
    """Each row of user-creation's table: its request id and its normalised address."""
    table = "users" if database_url.startswith("sqlite") else "user_creation.users"
    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            query = f"SELECT request_id, email_normalised FROM {table}"  # noqa: S608
            return [tuple(row) for row in await connection.execute(text(query))]
    finally:
        await engine.dispose()


async def state_of(broker, database_url):
    """Read everything."""
    state = State(users=await users_of(database_url))
    async for message in broker.scan("USERS", "users.v1.>"):
        subject, _, key = message.subject.rpartition(".")
        state.stored.setdefault(subject, []).append(key)
    async for message in broker.scan("DEAD", "dead.>"):
        letter = message.headers.get("ce-id", ""), message.headers.get("seaway-reason", "")
        state.dead.append(letter)
    return state


async def quiet(broker, within=QUIET_WITHIN):
    """Wait until no durable has anything left to do: I7. Raises TimeoutError."""
    if not await settled(broker, within):
        raise TimeoutError


def differences(history, state, poison=0):
    """Return a sentence for each thing that is not as it must be; `poison`: letters we caused."""
    return [*_lost(history, state), *_repeated(state), *_untrue(history, state, poison)]


def _lost(history, state):
    """I1: accepted or stored, and no outcome; I6: nobody was told."""
    decided = {*state.keys(CONFIRMED), *state.keys(REJECTED)}
    accepted = {s.request_id for s in history if s.accepted}
    poisoned = {message_id for message_id, _ in state.dead}
    yield from (f"I1: {i} was accepted and is not stored" for i in accepted - _asked(state))
    for i in (accepted | _asked(state)) - decided - poisoned:
        yield f"I1: {i} was accepted and has no outcome"
    for one in history:
        if not one.ended and one.request_id not in poisoned:
            yield f"I6: {one.request_id} never had a definite answer"


def _repeated(state):
    """I2: one row of each address; I3: one outcome of each request, in step with the rows."""
    confirmed, rejected = state.keys(CONFIRMED), state.keys(REJECTED)
    outcomes = Counter([*confirmed, *rejected])
    yield from (f"I3: {i} has {n} outcomes" for i, n in outcomes.items() if n > 1)
    for i in {*outcomes} - _asked(state):
        yield f"I3: {i} has an outcome and was never asked for"
    rows = Counter(request_id for request_id, _ in state.users)
    addresses = Counter(address for _, address in state.users)
    yield from (f"I2: {i} has {n} rows" for i, n in rows.items() if n > 1)
    yield from (f"I2: an address has {n} rows" for n in addresses.values() if n > 1)
    yield from (f"I3: {i} is confirmed without a row" for i in {*confirmed} - {*rows})
    yield from (f"I3: {i} has a row and is not confirmed" for i in {*rows} - {*confirmed})


def _untrue(history, state, poison):
    """I7: no dead letters but our poison; I8: nobody was told what is not so."""
    if len(state.dead) != poison:
        yield f"I7: {len(state.dead)} dead letters, {poison} were expected: {state.dead[:5]}"
    rows = {request_id for request_id, _ in state.users}
    rejected = {*state.keys(REJECTED)}
    for one in history:
        if len(one.outcomes) > 1:
            yield f"I3: {one.request_id} was told {len(one.outcomes)} outcomes"
        said_so = api.STATE_CONFIRMED in one.outcomes and one.request.reveal_taken
        if said_so and one.request_id not in rows:
            yield f"I8: {one.request_id} was told CONFIRMED and has no row"
        if api.STATE_REJECTED in one.outcomes and one.request_id not in rejected:
            yield f"I8: {one.request_id} was told REJECTED and is not"


def _asked(state):
    return {*state.keys(REQUESTED)}


async def asked_again(history, ports):
    """I6: have clients ask again, at each gateway in turn; return who is told something else."""
    ended = [one for one in history if one.ended]
    ended.sort(key=lambda one: -len(one.errors))
    wrong = []

    async def ask(one, stubs):
        again = SignUp(one.request)
        try:
            await sign_up(stubs, again, within=120.0)
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            wrong.append(f"I6: {one.request_id} asked again and was not answered: {error!r}")
        if again.ended and again.outcomes != one.outcomes:
            wrong.append(f"I6: {one.request_id} asked again and was told something else")

    async with clients(ports, 4) as stubs, asyncio.TaskGroup() as tasks:
        for number, one in enumerate(ended[:ASKED_AGAIN]):
            tasks.create_task(ask(one, [*stubs[number % 4 :], *stubs]))
    return wrong


async def check(history, *, url, database_url, ports, poison=0):
    """Wait for quiet, then look: return a sentence for each thing that is not as it must be."""
    async with JetStream(url, "checker") as broker:
        await broker.connected()
        try:
            await quiet(broker)
        except TimeoutError:
            left = await broker.durables("USERS")
            return [f"I7: not quiet after {QUIET_WITHIN:.0f} s: {left}"]
        state = await state_of(broker, database_url)
    return [*differences(history, state, poison), *await asked_again(history, ports)]


async def audited(system):
    """What `seaway audit` finds: it asks the services for their own records, we do not."""
    report = await audit(system)
    return [f"audit: {each.kind}: {each.sentence}" for each in report.differences]
