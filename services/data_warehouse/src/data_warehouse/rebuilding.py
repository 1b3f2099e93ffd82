"""The table made anew from the stream, beside the old one, compared, and put in its place."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from google.protobuf.message import Message
from seaway.broker import Stored
from seaway.contract import Stream, installed_types
from seaway.envelope import Envelope, decode
from seaway.errors import Unprocessable
from seaway.inbox import Handled
from seaway.service import redrive_subject
from seaway.topology import FoundStream

from data_warehouse.comparing import Difference, compared, selected
from data_warehouse.entries import FORGOTTEN, Entry
from data_warehouse.forgetting import delete
from data_warehouse.place import Place
from data_warehouse.table import Origin, StreamTable, create, found, schema_of_table, tombstones_of
from data_warehouse.table import replace as put_in_place
from data_warehouse.writer_lock import sole_writer

AT_ONCE = 1000
LOCK_WITHIN = 60.0
TRIES = 20
TOMBSTONES = f"select * from old where type = '{FORGOTTEN}'"  # noqa: S608 - the word is ours


class Ledger(Protocol):
    """Who has the stream."""

    def scan(self, stream: str, subjects: str, after: int = 0) -> AsyncIterator[Stored]:
        """Yield what the stream keeps, in order. Raises BrokerUnavailable."""


@dataclass(slots=True)
class Rebuilding:
    """One rebuilding of a table. The service may go on meanwhile."""

    place: Place
    origin: Origin
    stream: Stream
    kept: FoundStream
    """The stream as it was when the rebuilding began."""
    replayed: int = 0
    unreadable: int = 0
    carried_over: int = 0

    async def beside(self, ledger: Ledger) -> int:
        """Make the new table; return up to which place of the stream it has everything."""
        old = self._old()
        watermark = old.transaction_version(self.origin.application) or 0
        new = create(self._beside, schema_of_table(old), "overwrite")
        await asyncio.to_thread(self._copy, TOMBSTONES, old, new)
        table = StreamTable(self._beside, schema_of_table(old))
        async for batch in self._stored(ledger, watermark):
            await asyncio.to_thread(table.append, batch, self.origin)
            self.replayed += len(batch)
        await asyncio.to_thread(self._carry_over, old, self._new())
        return watermark

    def differences(self, watermark: int) -> Sequence[Difference]:
        """Return what the old table has otherwise than the new one."""
        return compared(self._old(), self._new(), watermark)

    def swap(self, watermark: int) -> int:
        """Put the new rows in the place of the old ones, in one commit; return its version.

        What the service has added meanwhile is taken along, and who was forgotten meanwhile is
        forgotten. The earlier versions stay readable
        until upkeep deletes their files.
        """
        with sole_writer(self.place.url, LOCK_WITHIN):
            for last in reversed(range(TRIES)):
                old, new = self._old(), self._new()
                reached = old.transaction_version(self.origin.application) or 0
                self._copy(f"{self._of_this_stream} and sequence > {watermark}", old, new)
                self._forget(old, new)
                try:
                    rows = new.to_pyarrow_dataset().scanner().to_reader()
                    put_in_place(old, rows, {self.origin.application: reached})
                except CommitFailedError:  # object storage has no lock: another was first
                    if not last:
                        raise
                    watermark = reached
                else:
                    return old.version()
        raise AssertionError

    def clear(self) -> None:
        """Remove the new table."""
        if self._beside.is_local:
            shutil.rmtree(self._beside.url, ignore_errors=True)
        elif new := found(self._beside):
            new.delete()
            new.vacuum(0, dry_run=False, enforce_retention_duration=False)

    @property
    def _beside(self) -> Place:
        return self.place.beside("rebuilt")

    @property
    def _of_this_stream(self) -> str:
        born = self.origin.created.isoformat()
        return f"select * from old where stored_at >= timestamptz '{born}'"  # noqa: S608

    def _old(self) -> DeltaTable:
        return self.place.table()

    def _new(self) -> DeltaTable:
        return self._beside.table()

    def _copy(self, question: str, old: DeltaTable, new: DeltaTable) -> None:
        write_deltalake(new, selected(question, old=old, new=new), mode="append")

    def _forget(self, old: DeltaTable, new: DeltaTable) -> None:
        """Forget whom the old table has forgotten since its tombstones were copied."""
        if gone := sorted(tombstones_of(old).owners - tombstones_of(new).owners):
            delete(new, pc.field("request_id").isin(gone) | pc.field("user_id").isin(gone))
            missing = f"{TOMBSTONES} and event_id not in (select event_id from new)"  # noqa: S608
            self._copy(missing, old, new)

    def _carry_over(self, old: DeltaTable, new: DeltaTable) -> None:
        """Take along what the stream does not keep any more."""
        before = new.count()
        born = self.origin.created.isoformat()
        self._copy(
            f"select old.* from old anti join new using (event_id) where old.type <> '{FORGOTTEN}'"  # noqa: S608
            f" and (stored_at < timestamptz '{born}' or sequence < {self.kept.first})",
            old,
            new,
        )
        self.carried_over = new.count() - before

    async def _stored(self, ledger: Ledger, last: int) -> AsyncIterator[list[Entry]]:
        """Yield the rows of what the stream keeps up to a place, some at a time."""
        batch: list[Entry] = []
        async for stored in ledger.scan(self.stream.name, self.stream.subjects):
            if stored.sequence > last:
                break
            if self._is_ours(stored.subject):
                batch += self._entries(stored)
            if len(batch) >= AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    def _is_ours(self, subject: str) -> bool:
        """Whether the service is given it, too: no redrive of another durable."""
        redriven = redrive_subject(self.stream, self.origin.durable, "")
        every = redrive_subject(self.stream, "", "").removesuffix(".")
        return subject.startswith(redriven) or not subject.startswith(every)

    def _entries(self, stored: Stored) -> list[Entry]:
        """Return the row of a message; none if it cannot be read, as the service would."""
        try:
            type_ = installed_types()[stored.headers["ce-type"]]
            message: Envelope[Message] = decode(type_, stored.data, stored.headers)
            message = replace(message, sequence=stored.sequence, stored_at=stored.at)
            hash = sha256(stored.data).digest()
            return [Entry.of(message, Handled(message.id, stored.sequence, hash))]
        except (KeyError, Unprocessable):
            self.unreadable += 1
            return []
