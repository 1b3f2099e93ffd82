"""The Delta table: opened, written to exactly once, and asked.

delta-rs accepts the same application transaction twice. So a commit is made from the snapshot
in which was looked what is there already, and carries a transaction of the application: if
anybody has committed one since, it is refused, and the look is repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from seaway.errors import DependencyDown, SettingsError
from seaway.failpoints import crash_here, declare

from data_warehouse.deciding import Doubts, Tombstones, doubts, dropped, missing
from data_warehouse.entries import FORGOTTEN, INDEXED, Entry, as_arrow
from data_warehouse.place import Place
from data_warehouse.power_cut import mended, synced
from data_warehouse.writer_lock import sole_writer

declare("W1", "before the table is committed")
declare("W2", "the table is committed, nothing else knows")

WRITER = "seaway-warehouse"
"""The application of which every writer commits a transaction: of two at once one is refused."""
TRIES = 20
"""How often we look again after others have committed."""
LOCK_WITHIN = 15.0
PARTITION = "date"


@dataclass(frozen=True, slots=True)
class Origin:
    """The stream whose messages the table keeps, and who reads it for us."""

    stream: str
    durable: str
    created: datetime

    @property
    def application(self) -> str:
        """The application whose transactions hold the watermark of this very stream."""
        return f"{self.stream}/{self.durable}/{self.created.isoformat()}"


class StreamTable:
    """A table with one row for each message of a stream. Making one does no I/O.

    Everything blocks; errors of the store come as what delta-rs and the system raise. Not to be
    shared between threads.
    """

    def __init__(self, place: Place, schema: pa.Schema) -> None:
        self.place = place
        self.schema = schema
        self._table: DeltaTable | None = None
        self._synced = -1
        """The last version that no power cut can take."""

    def open(self) -> DeltaTable:
        """Return the table as it is now; made, mended and given our columns, if need be.

        Raises SettingsError that names what is wrong with a table that we cannot write to.
        """
        with sole_writer(self.place.url, LOCK_WITHIN):
            return self._current()

    def close(self) -> None:
        """Forget what is known of it: after an error, or before somebody else changes it."""
        self._table = None

    def append(self, entries: Sequence[Entry], origin: Origin) -> int:
        """Have one row for each entry; return how many were missing.

        Raises DependencyDown if others are always faster.
        """
        for _ in range(TRIES):
            try:
                with sole_writer(self.place.url, LOCK_WITHIN):
                    return self._append(self._current(), entries, origin)
            except CommitFailedError:
                self.close()
        raise DependencyDown(f"{TRIES} commits in a row were refused: others were first")

    def read(
        self, where: pc.Expression, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield rows of the table as it is now. Never many are held at once."""
        found = self.open().to_pyarrow_dataset()
        for batch in found.scanner(columns=columns, filter=where).to_batches():
            yield from batch.to_pylist()

    def _current(self) -> DeltaTable:
        if self._table is None:
            self._table = self._opened()
        else:
            self._table.update_incremental()
        return self._table

    def _append(self, table: DeltaTable, entries: Sequence[Entry], origin: Origin) -> int:
        watermark = table.transaction_version(origin.application) or 0
        doubtful = doubts(entries, watermark, origin.created)
        tombstones = tombstones_of(table)
        new = missing(entries, present(table, doubtful), tombstones.owners)
        gone = dropped(entries, tombstones)
        if new or gone:
            now = datetime.now(UTC)
            added = [entry.row(now) for entry in new] + [entry.tombstone(now) for entry in gone]
            rows = as_arrow(added, schema_of_table(table))
            highest = max(watermark, *(entry.sequence for entry in (*new, *gone)))
            crash_here("W1")
            commit(table, rows, {origin.application: highest})
            self._sync(table)
            crash_here("W2")
        return len(new)

    def _sync(self, table: DeltaTable) -> None:
        if self.place.is_local:
            synced(self.place.url, range(self._synced + 1, table.version() + 1))
        self._synced = table.version()

    def _opened(self) -> DeltaTable:
        if self.place.is_local:
            mended(self.place.url)
        table = found(self.place) or create(self.place, self.schema)
        evolve(table, self.schema)
        self._sync(table)
        return table


def found(place: Place) -> DeltaTable | None:
    """Return the table; None: there is none.

    Not asked with `is_deltatable`: that holds Python's lock, and the event loop with it, until a
    store that is slow has answered.
    """
    try:
        return place.table()
    except TableNotFoundError:
        return None


def create(
    place: Place, schema: pa.Schema, mode: Literal["ignore", "overwrite"] = "ignore"
) -> DeltaTable:
    """Make an empty table; one that is there stays as it is, or is emptied."""
    DeltaTable.create(
        place.url,
        Schema.from_arrow(schema),
        mode=mode,
        partition_by=[PARTITION],
        # Extremes of other columns would put personal data into the log, where no delete goes.
        configuration={"delta.dataSkippingStatsColumns": INDEXED},
        storage_options=place.options,
    )
    return place.table()


def evolve(table: DeltaTable, wanted: pa.Schema) -> None:
    """Add the columns that a table of an older release lacks; columns of a newer one stay.

    Raises SettingsError if what is there is another table than ours.
    """
    there = schema_of_table(table)
    where = f"the table {table.table_uri}"
    if table.metadata().partition_columns != [PARTITION]:
        raise SettingsError(f"{where} is not partitioned by {PARTITION}: it is not a warehouse's")
    for column in wanted:
        if column.name in there.names and there.field(column.name).type != column.type:
            kinds = f"{there.field(column.name).type} and not {column.type}"
            raise SettingsError(f"{where} has column {column.name} as {kinds}")
    added = pa.schema([column for column in wanted if column.name not in there.names])
    if len(added):
        table.alter.add_columns(list(Schema.from_arrow(added).fields))


def commit(table: DeltaTable, rows: Any, watermarks: Mapping[str, int]) -> None:
    """Add rows as one commit, refused if another writer has committed since `table` was read."""
    properties = writers_commit(table, watermarks)
    write_deltalake(table, rows, mode="append", commit_properties=properties)


def replace(
    table: DeltaTable, rows: Any, watermarks: Mapping[str, int], where: str | None = None
) -> None:
    """Put rows in the place of those that are there, or of those `where`, as such a commit."""
    properties = writers_commit(table, watermarks)
    write_deltalake(table, rows, mode="overwrite", predicate=where, commit_properties=properties)


def writers_commit(table: DeltaTable, watermarks: Mapping[str, int]) -> CommitProperties:
    """Return what makes a commit one of a writer."""
    turn = (table.transaction_version(WRITER) or 0) + 1
    applications = {WRITER: turn, **watermarks}
    return CommitProperties(app_transactions=[Transaction(*each) for each in applications.items()])


def present(table: DeltaTable, doubtful: Doubts) -> Mapping[str, str]:
    """Return those messages that have a row in this snapshot: the hash of each, by id."""
    here, elsewhere = doubtful.by_place, doubtful.by_id
    found: dict[str, str] = {}
    if here:
        lowest = min(entry.sequence for entry in here)
        found |= _found(table, here, pc.field("sequence") >= lowest)
    if elsewhere:
        found |= _found(table, elsewhere, pc.scalar(True))
    return found


def tombstones_of(table: DeltaTable) -> Tombstones:
    """Return of whom, and of what, nothing is to be kept."""
    rows = table.to_pyarrow_dataset(file_pruning_predicate=[(PARTITION, "=", "")]).to_table(
        columns=["request_id", "user_id", "event_id", "sequence"],
        filter=pc.field("type") == FORGOTTEN,
    )
    owners = {id for name in ("request_id", "user_id") for id in rows[name].to_pylist() if id}
    places = zip(rows["event_id"].to_pylist(), rows["sequence"].to_pylist(), strict=True)
    return Tombstones(owners, {id for id, sequence in places if sequence is not None})


def schema_of_table(table: DeltaTable) -> pa.Schema:
    """Return a table's columns."""
    return pa.schema(table.schema().to_arrow())


def _found(table: DeltaTable, entries: Sequence[Entry], where: pc.Expression) -> dict[str, str]:
    dates = {entry.date for entry in entries}
    files = table.to_pyarrow_dataset(
        file_pruning_predicate=[(PARTITION, "in", sorted(date.isoformat() for date in dates))]
    )
    ids = pc.field("event_id").isin([entry.event_id for entry in entries])
    rows = files.to_table(columns=["event_id", "sha256"], filter=where & ids)
    return dict(zip(*rows.to_pydict().values(), strict=True))
