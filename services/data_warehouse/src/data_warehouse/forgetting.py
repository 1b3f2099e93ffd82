"""Having nothing of a user any more, and keeping it so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import pyarrow.compute as pc
from acme.users.v1.address import normalised
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from seaway.envelope import SEAWAY
from seaway.errors import SeawayError

from data_warehouse.entries import FORGOTTEN, as_arrow, tombstone
from data_warehouse.place import Place
from data_warehouse.power_cut import synced
from data_warehouse.table import PARTITION, commit, replace, schema_of_table, tombstones_of
from data_warehouse.writer_lock import sole_writer

LOCK_WITHIN = 60.0
TRIES = 20


class UnknownUser(SeawayError):
    """The table has no row of this user, and never had to forget him."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done."""

    user_id: str
    conversations: int
    """The user's own, and those in which somebody gave his address."""
    rows: int


def forget(place: Place, user_id: str) -> Forgotten:
    """Delete every row of a user and of whoever gave his address; keep them from coming back.

    First a tombstone for each conversation and each message, then the rows, then the files that
    held them: cut off anywhere, it is finished by doing it again. Raises UnknownUser.
    """
    with sole_writer(place.url, LOCK_WITHIN):
        for last in reversed(range(TRIES)):
            try:
                return _forget(place, user_id)
            except CommitFailedError:  # another writer was first
                if not last:
                    raise
    raise AssertionError


def _forget(place: Place, user_id: str) -> Forgotten:
    table = place.table()
    before = table.version()
    requests = conversations_of(table, user_id)
    if not requests:
        raise UnknownUser(f"there is nothing of user {user_id}")
    known, his = tombstones_of(table), pc.field("request_id").isin(requests)
    new = conversations(user_id, sorted(set(requests) - known.owners))
    new += [stone for stone in messages(table, his) if stone["event_id"] not in known.messages]
    if new:
        commit(table, as_arrow(new, schema_of_table(table)), {})
    deleted = delete(table, his)
    if place.is_local:  # a power cut must not take the new files, when the old ones are gone
        synced(place.url, range(before + 1, table.version() + 1))
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    return Forgotten(user_id, len(requests), deleted)


def delete(table: DeltaTable, which: pc.Expression) -> int:
    """Delete messages: write the days on which they were said once more, without them.

    Not by delta-rs's own delete: what it writes, pyarrow 26 cannot filter (its strings are views).
    Nobody else's row can come in between: of two writers' commits one is refused.
    """
    files = table.to_pyarrow_dataset()
    which = which & (pc.field("type") != FORGOTTEN)
    gone = files.to_table(columns=[PARTITION], filter=which)[PARTITION]
    days = sorted(set(gone.to_pylist()))
    if days:
        kept = files.scanner(filter=pc.field(PARTITION).isin(days) & ~which).to_reader()
        where = ", ".join(f"'{day.isoformat()}'" for day in days)
        replace(table, kept, {}, where=f"{PARTITION} in ({where})")
    return len(gone)


def conversations_of(table: DeltaTable, user_id: str) -> Sequence[str]:
    """Return the ids of all requests that were the user's, or gave his address in any form."""
    files = table.to_pyarrow_dataset()
    columns = ["request_id", "email"]
    his = files.to_table(columns=columns, filter=pc.field("user_id") == user_id)
    addresses = {normalised(email) for email in his["email"].to_pylist() if email}
    there = files.to_table(columns=columns, filter=pc.field("email").is_valid())
    given = [
        request_id
        for request_id, email in zip(*there.to_pydict().values(), strict=True)
        if normalised(email) in addresses
    ]
    return sorted({*his["request_id"].to_pylist(), *given} - {None})


def conversations(user_id: str, requests: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each conversation that says that none of it is to be kept."""
    now = datetime.now(UTC)
    return [
        {
            "event_id": str(uuid5(SEAWAY, f"forgotten/{user_id}/{request_id}")),
            "type": FORGOTTEN,
            "ingested_at": now,
            "request_id": request_id,
            "user_id": user_id,
        }
        for request_id in requests
    ]


def messages(table: DeltaTable, which: pc.Expression) -> list[dict[str, Any]]:
    """Return a row for each of these messages that says that it was handled, and has no other."""
    now = datetime.now(UTC)
    found = table.to_pyarrow_dataset().to_table(
        columns=["event_id", "sequence", "stored_at"],
        filter=which & (pc.field("type") != FORGOTTEN),
    )
    return [tombstone(**row, now=now) for row in found.to_pylist()]
