"""Two tables side by side, in SQL. Needs DuckDB, which is not in the service's image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from deltalake import DeltaTable

from data_warehouse.entries import FORGOTTEN
from data_warehouse.table import schema_of_table

EXAMPLES = 10
ROWS_AT_ONCE = 10_000
MAY_DIFFER = {"ingested_at", "sequence", "stored_at"}
"""When a row was added, and where it stood: a redrive has a place of its own."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one table has and the other not, by id of the message: how many, and a few of them."""

    kind: str
    count: int
    examples: Sequence[str]


def connected(**tables: DeltaTable) -> duckdb.DuckDBPyConnection:
    """Return a database in memory in which these tables can be asked by their names."""
    database = duckdb.connect()
    for name, table in tables.items():
        database.register(name, table.to_pyarrow_dataset())
    return database


def asked(table: DeltaTable, question: str) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    """Return the names of an answer's columns, and its rows. Raises duckdb.Error.

    The table is called `users` and has a row for each message; who is forgotten is in
    `forgotten`.
    """
    database = connected(everything=table)
    # FORGOTTEN is ours, not a user's; with a sequence it is a message's.
    views = {"users": f"<> '{FORGOTTEN}'", "forgotten": f"= '{FORGOTTEN}' and sequence is null"}
    for name, which in views.items():
        database.execute(f"create view {name} as select * from everything where type {which}")  # noqa: S608
    answer = database.execute(question)
    names = [column[0] for column in answer.description or ()]

    def rows() -> Iterator[Sequence[Any]]:
        while page := answer.fetchmany(ROWS_AT_ONCE):
            yield from page

    return names, rows()


def selected(question: str, **tables: DeltaTable) -> Any:
    """Return the rows of an answer as a stream of Arrow batches."""
    return connected(**tables).sql(question).to_arrow_reader(ROWS_AT_ONCE)


def compared(old: DeltaTable, new: DeltaTable, watermark: int) -> Sequence[Difference]:
    """Return what differs among the messages that the old table has, or should have.

    What was added to the old one above the watermark is left out: it came meanwhile.
    """
    columns = [name for name in schema_of_table(new).names if name not in MAY_DIFFER]
    differs = " or ".join(f'o."{name}" is distinct from n."{name}"' for name in columns)
    which = f"type <> '{FORGOTTEN}' and coalesce(sequence, 0) <= {watermark}"
    kinds: Mapping[str, str] = {
        "missing": f"from new n anti join old o using (event_id) where {which}",
        "unexpected": f"from old o anti join new n using (event_id) where {which}",
        "changed": f"from old o join new n using (event_id) where ({differs}) "
        f"and o.type <> '{FORGOTTEN}'",
        "twice": f"from old where {which} group by event_id having count(*) > 1",
    }
    return [_difference(kind, text, old, new) for kind, text in kinds.items()]


def _difference(kind: str, which: str, old: DeltaTable, new: DeltaTable) -> Difference:
    database = connected(old=old, new=new)
    found = database.execute(f"select event_id {which}").fetchall()
    return Difference(kind, len(found), [id for (id,) in found[:EXAMPLES]])
