"""The broker of a round, and the requests that wait in it."""

import asyncio
import time
import uuid
from contextlib import asynccontextmanager

from acme.users.v1 import CreateUserRequested
from seaway import Envelope, address_of
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from seaway.topology import DurableSpec, apply, declared

DURABLE = DurableSpec.elsewhere(
    "user-creation", CreateUserRequested.DESCRIPTOR.full_name, "beginning"
)
OUTCOMES = ("users.v1.create-confirmed.*", "users.v1.create-rejected.*")
AT_ONCE = 1000
TAKEN = 100
"""One request in so many is for an address that is taken."""

STUCK_AFTER = 60.0
"""Seconds without any progress, after which a side is not slow but stuck."""


@asynccontextmanager
async def a_broker():
    """Run a broker with the stream and the durable of user_creation; yield server and client."""
    async with nats_server() as server, client_of(server.url) as broker:
        yield server, broker


@asynccontextmanager
async def client_of(url, replicas=1):
    """Make the stream and the durable, in so many copies; yield the client that did."""
    async with JetStream(url, "bench") as broker:
        await broker.connected()
        stream = address_of(CreateUserRequested).stream
        await apply(broker, declared([stream], [DURABLE], replicas))
        yield broker


def opening(number, prefix="", traceparent=""):
    """A request as a gateway would publish it."""
    body = CreateUserRequested(
        request_id=str(uuid.uuid4()),
        email=f"{prefix}{number - (number % TAKEN == TAKEN - 1)}@example.org",
        display_name="Ada Lovelace",
        locale="en",
    )
    return Envelope.opening(body, "bench", traceparent).posting()


async def fill(broker, count, prefix="", traced=lambda number: ""):
    """Store so many requests; `traced` says in which trace each is."""
    for start in range(0, count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, count))
        await broker.publish([opening(number, prefix, traced(number)) for number in numbers])


async def drained(broker, process, durable=DURABLE.name, to=0):
    """Wait until only so much is left to do, or nothing is done; return how much is left."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < STUCK_AFTER and process.returncode is None:
        found = (await broker.durables("USERS"))[durable]
        left = found.pending + found.ack_pending
        if left <= to:
            return left
        if (found.pending, found.ack_pending) != seen:
            seen, since = (found.pending, found.ack_pending), time.monotonic()
        await asyncio.sleep(0.05)
    return sum(seen or (0, 0))


def users(count):
    """How many users so many requests make."""
    return count - count // TAKEN


async def outcomes(broker):
    """When each outcome was stored, by the broker's clock, in order; and how many confirm."""
    confirmed, rejected = [
        [stored.at async for stored in broker.scan("USERS", subject)] for subject in OUTCOMES
    ]
    return sorted(confirmed + rejected), len(confirmed)
