"""Small files made one, the log made short, old files deleted: beside the service."""

import asyncio
from contextlib import suppress
from typing import Any, Self

import pyarrow as pa
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from data_warehouse.metrics import FILES, UPKEEP_FAILED
from data_warehouse.place import Place
from data_warehouse.power_cut import checkpointed, synced
from data_warehouse.table import PARTITION, found

log = structlog.get_logger("data_warehouse")

SMALL_FILES = 8
"""A day with fewer files is left as it is."""
DAYS = 7
"""The most days of which files are made one in a round."""


class Upkeep:
    """Rounds of upkeep, as long as the context lasts. A round that fails is made up for later.

    It writes no row and takes none, so it commits beside the writer: neither waits for the other.
    """

    def __init__(self, place: Place, every: float, keep_hours: int) -> None:
        self._place = place
        self._every = every
        self._keep_hours = keep_hours
        self._rounds: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._rounds = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End. A round that is under way does no harm by being cut off with the process."""
        if self._rounds is not None:
            self._rounds.cancel()
            with suppress(asyncio.CancelledError):
                await self._rounds

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await asyncio.to_thread(tidy, self._place, self._keep_hours)
            except (DeltaError, OSError, pa.ArrowException) as error:
                UPKEEP_FAILED.inc()
                log.warning("no upkeep this time", error=type(error).__name__)


def tidy(place: Place, keep_hours: int) -> None:
    """Make small files one, write a checkpoint, delete files that have not belonged to it lately.

    What was written and never committed is deleted, too. Days with few files are left alone.
    """
    table = found(place)
    if table is None:
        return
    before = table.version()
    for day in days_in_pieces(table)[:DAYS]:
        table.optimize.compact([(PARTITION, "=", day)], max_concurrent_tasks=1)
    table.create_checkpoint()
    if place.is_local:  # before what they replace is deleted
        synced(place.url, range(before + 1, table.version() + 1))
        checkpointed(place.url)
    table.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False, full=True)
    table.cleanup_metadata()
    FILES.set(len(table.file_uris()))


def days_in_pieces(table: DeltaTable) -> list[Any]:
    """Return the days that have many files, those with the most first."""
    files = pa.table(table.get_add_actions(flatten=True))
    counts = pa.table({"day": files[f"partition.{PARTITION}"]}).group_by("day")
    days = counts.aggregate([("day", "count")]).sort_by([("day_count", "descending")])
    return [
        row["day"].isoformat()
        for row in days.to_pylist()
        if row["day"] is not None and row["day_count"] >= SMALL_FILES
    ]
