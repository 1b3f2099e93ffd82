"""What is sent to a warehouse, and what is found in it."""

import asyncio
import hashlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from data_warehouse.entries import Entry, schema_of
from data_warehouse.service import STREAM
from data_warehouse.table import Origin
from deltalake import DeltaTable
from development import seaway
from google.protobuf.timestamp_pb2 import Timestamp
from seaway.contract import address_of, installed_types
from seaway.envelope import Envelope
from seaway.inbox import Handled
from seaway.jetstream import JetStream
from seaway.testing import ServiceProcess, nats_server
from seaway.testing.crashing import quiet
from waiting import until

TYPES = [t for t in installed_types().values() if address_of(t).stream.name == STREAM]
SCHEMA = schema_of(TYPES)


def requested(**fields):
    told = {"email": "ada@example.org", "display_name": "Ada", "locale": "en", **fields}
    return CreateUserRequested(request_id=str(uuid4()), **told)


def confirmed(request=None, **fields):
    request = request or requested(**fields)
    at = Timestamp()
    at.GetCurrentTime()
    return CreateUserConfirmed(
        request_id=request.request_id,
        user_id=str(uuid4()),
        email=request.email,
        display_name=request.display_name,
        locale=request.locale,
        created_at=at,
    )


def rows(url, columns=None):
    """The table's rows as anybody sees them, by their place in the stream."""
    found = DeltaTable(url).to_pyarrow_table(columns=columns).to_pylist()
    return sorted(found, key=lambda row: row.get("sequence") or 0)


def answered(*requests):
    """Each request with its outcome, as user-creation says it: postings, ready to be stored."""
    openings = [Envelope.opening(request, source="test") for request in requests]
    return [
        envelope.posting()
        for opening in openings
        for envelope in (opening, opening.reply(confirmed(opening.body), "user-creation"))
    ]


def sha256(posting):
    return hashlib.sha256(posting.data).hexdigest()


BORN = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = Origin("USERS", "data-warehouse-users", BORN)


def entry(body, sequence):
    said = Envelope.opening(body, source="test")
    at = BORN + timedelta(days=1, seconds=sequence)
    said = replace(said, sequence=sequence, stored_at=at, time=at)
    hashed = hashlib.sha256(body.SerializeToString()).digest()
    return Entry.of(said, Handled(said.id, sequence, hashed))


def entries(first, last, **fields):
    return [
        entry(requested(email=f"{sequence}@example.org", **fields), sequence)
        for sequence in range(first, last + 1)
    ]


@dataclass
class Running:
    """A broker, the service as a process, and the command line beside them."""

    broker: JetStream
    process: ServiceProcess
    url: str
    settings: dict

    async def keep(self, *requests):
        """Have so many sign-ups in the stream, and everything that follows in the table."""
        postings = answered(*requests)
        for start in range(0, len(postings), 1000):
            await self.broker.publish(postings[start : start + 1000])
        await self.settled()

    async def settled(self, within=60.0):
        """Return when the durable has nothing left."""
        await quiet(self.broker, self.process, within)

    async def until_kept(self, count, within=120.0):
        """Return when the table has so many rows."""

        async def enough():
            is_there = await asyncio.to_thread(DeltaTable.is_deltatable, self.url)
            return is_there and await asyncio.to_thread(DeltaTable(self.url).count) >= count

        await until(enough, within, every=0.1)

    async def stored(self):
        """Every message that the stream keeps: id and hash."""
        kept = self.broker.scan("USERS", "users.v1.>")
        return Counter([(s.headers["ce-id"], sha256(s)) async for s in kept])

    def kept(self):
        """Every row of the table that is a message: id and hash."""
        found = rows(self.url, ["event_id", "sha256"])
        return Counter((row["event_id"], row["sha256"]) for row in found if row["sha256"])

    async def command(self, *words):
        """Run `seaway warehouse …`; return its exit code, its lines, and its complaints."""
        done = await asyncio.to_thread(seaway, "warehouse", *words, **self.settings)
        return done.returncode, done.stdout.splitlines(), done.stderr


@asynccontextmanager
async def a_running_warehouse(folder, url, **settings):
    """Run the service on a broker of its own."""
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        told = {
            "SEAWAY_NATS_URL": server.url,
            "SEAWAY_WAREHOUSE_URL": url,
            "SEAWAY_WAREHOUSE_BATCH_SECONDS": "0.1",
            **settings,
        }
        process = ServiceProcess(["python", "-m", "data_warehouse"], told, folder)
        await process.start("--prepare")
        try:
            await until(lambda: made(broker), 60)
            yield Running(broker, process, url, told)
        finally:
            await process.stop()


async def made(broker):
    """Whether the service has made what it needs of the broker."""
    streams = await broker.streams()
    return "USERS" in streams and bool(await broker.durables("USERS"))
