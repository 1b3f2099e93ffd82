"""The table as the service uses it: beside the event loop, and as its inbox.

That a message was handled is the row that it has. So the table is the inbox: the effect, the fact
that it is handled and the hash of what came are one commit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from acme.users.v1 import CreateUserConfirmed
from deltalake.exceptions import DeltaError
from google.protobuf.message import Message
from seaway import Envelope
from seaway.errors import DependencyDown, SettingsError
from seaway.inbox import Handled, MemoryInbox, Transaction, Trials
from seaway.service import Row
from seaway.topology import FoundStream

from data_warehouse.entries import FORGOTTEN, Entry, event
from data_warehouse.metrics import COMMIT_SECONDS, REPEATED, ROWS
from data_warehouse.place import Place
from data_warehouse.table import Origin, StreamTable
from data_warehouse.trials import TrialRecord

log = structlog.get_logger("data_warehouse")

WITHIN = 25.0
"""Seconds that the store may take: less than a handler may, so that it is the store's fault."""
PAGE = 500


class Streams(Protocol):
    """Who knows when a stream was made."""

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name. Raises BrokerUnavailable."""


@dataclass(slots=True)
class Batch:
    """What one transaction is going to keep."""

    messages: Sequence[Envelope[Message]] = ()
    handled: Sequence[Handled] = ()

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Handled]:
        """Return none: what has a row already is found by the commit itself."""
        return {}

    async def record(self, handled: Sequence[Handled]) -> None:
        """Say that these are handled."""
        self.handled = handled

    @property
    def entries(self) -> list[Entry]:
        """The rows that there are to be."""
        return [Entry.of(m, h) for m, h in zip(self.messages, self.handled, strict=True)]


_open: ContextVar[Batch] = ContextVar("_open")


class DeltaWarehouse:
    """A Warehouse and an Inbox. A store that is away raises DependencyDown, everywhere.

    What came of a message that was tried alone is kept beside the table. Failures in company are
    counted for as long as the process lives: what fails then is the table, and hardly ever one
    message.
    """

    def __init__(self, place: Place, schema: pa.Schema, stream: str, streams: Streams) -> None:
        self._table = StreamTable(place, schema)
        self._stream = stream
        self._streams = streams
        self._created: datetime | None = None
        self._trials = TrialRecord(place.beside("trials"))
        self._in_company = MemoryInbox()
        self._is_open = False
        # One thread: whatever was cut off has ended before the next thing begins.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="delta")

    async def __aenter__(self) -> Self:
        """Raise SettingsError for a table that is not ours. If it is away, that is seen later."""
        with suppress(DependencyDown):
            await self.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the table."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prepare(self) -> None:
        """Have a table with the columns that this release needs. Safe to repeat, and at once.

        Raises SettingsError that names what is wrong with the one that is there.
        """
        await self._run(self._table.open)
        self._is_open = True

    async def ready(self) -> bool:
        """Whether the table could be used when it was last needed.

        That trials can be read beside it says nothing: on a full disk they can.
        """
        return self._is_open

    async def add(self, messages: Sequence[Envelope[Message]]) -> None:
        """Have one row for each of these when the transaction that this task is in ends."""
        _open.get().messages = messages

    async def users(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield the users whose rows were added since a moment."""
        name = CreateUserConfirmed.DESCRIPTOR.name
        where = (pc.field("type") == name) & (pc.field("ingested_at") >= pa.scalar(since))
        async for row in self._read(where):
            yield Row(event(CreateUserConfirmed, row), row["ingested_at"])

    @asynccontextmanager
    async def transaction(self, durable: str) -> AsyncIterator[Transaction]:
        """Begin; commit what was added at the end of the context, nothing if it raises."""
        batch = Batch()
        token = _open.set(batch)
        try:
            yield batch
        finally:
            _open.reset(token)
        if batch.handled:
            origin = Origin(self._stream, durable, await self._born())
            with COMMIT_SECONDS.time():
                added = await self._run(partial(self._table.append, batch.entries, origin))
            self._is_open = True
            ROWS.inc(added)
            REPEATED.inc(len(batch.handled) - added)
            await self._settled(durable, batch.handled)

    async def trouble(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return what came of earlier attempts, of those messages that were tried alone."""
        return await self._run(partial(self._trials.known, durable, message_ids))

    async def begun(self, durable: str, message_id: str, attempt: int) -> Trials:
        """Take note that this process now tries a message alone; return what came before."""
        alone = await self._run(partial(self._trials.begun, durable, message_id))
        before = await self._in_company.begun(durable, message_id, attempt)
        return Trials(alone.failures + before.failures, alone.kills)

    async def failed(
        self, durable: str, message_ids: Sequence[str], attempt: int
    ) -> Sequence[int]:
        """Take note that these failed together; return how often each has failed now."""
        match message_ids:
            case [message_id]:
                alone = await self._run(partial(self._trials.failed, durable, message_id))
                before = await self._in_company.begun(durable, message_id, attempt)
                return [alone + before.failures]
        return await self._in_company.failed(durable, message_ids, attempt)

    async def released(self, durable: str, message_ids: Sequence[str]) -> None:
        """Take note that trials ended without a failure of the message's own."""
        match message_ids:
            case [message_id]:
                await self._run(partial(self._trials.released, durable, message_id))

    async def forget(self, durable: str, message_id: str) -> None:
        """Forget the trials of a message, so that a redrive begins anew."""
        await self._run(partial(self._trials.forget, durable, message_id))
        await self._in_company.forget(durable, message_id)

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of trials from before a moment. The rows stay: they are what it is for."""
        return await self._run(partial(self._trials.purge, durable, before))

    @property
    def is_kept(self) -> bool:
        """Yes: it is what the table is for."""
        return True

    async def accounted(self, durable: str, first: int, last: int) -> AsyncIterator[Handled]:
        """Yield what has a row, or is to have none, in no order; not of an earlier stream."""
        created = await self._born()
        place = pc.field("sequence")
        where = (place >= first) & (place <= last) & (pc.field("stored_at") >= pa.scalar(created))
        async for row in self._read(where, ["event_id", "sequence", "sha256", "type"]):
            hash = bytes.fromhex(row["sha256"] or "")
            forgotten = row["type"] == FORGOTTEN
            yield Handled(row["event_id"], row["sequence"], hash, forgotten=forgotten)

    async def _settled(self, durable: str, handled: Sequence[Handled]) -> None:
        """Have nothing on record of a message that was tried alone, and now has its row."""
        match handled:
            case [only]:
                await self._run(partial(self._trials.handled, durable, only.message_id))

    async def _born(self) -> datetime:
        if self._created is None:
            self._created = (await self._streams.streams())[self._stream].created
        return self._created

    async def _read(
        self, where: pc.Expression, columns: Sequence[str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        # Its own view of the table: a reader is slow, and the writer must not wait for it.
        table = StreamTable(self._table.place, self._table.schema)
        rows: Iterator[dict[str, Any]] = table.read(where, columns)
        while page := await asyncio.to_thread(_taken, rows):
            for row in page:
                yield row

    async def _run[T](self, work: Callable[[], T]) -> T:
        """Do it in the table's thread; what the store says becomes DependencyDown."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WITHIN):
                return await loop.run_in_executor(self._thread, _translated, self._table, work)
        except TimeoutError as error:
            self._is_open = False
            raise DependencyDown(f"the table has not answered for {WITHIN:.0f} s") from error
        except DependencyDown:
            self._is_open = False
            raise


def _taken(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(islice(rows, PAGE))


def _translated[T](table: StreamTable, work: Callable[[], T]) -> T:
    """Do it; an error leaves no half-known table behind. Raises DependencyDown for the store's."""
    try:
        return work()
    except (DeltaError, OSError, pa.ArrowException) as error:
        table.close()
        raise DependencyDown(f"the table is away: {type(error).__name__}") from error
    except SettingsError:
        table.close()
        raise
