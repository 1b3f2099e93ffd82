"""Statements whose text is the same for one row and for hundreds, made once."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Insert, Table, bindparam, func, select
from sqlalchemy import column as named
from sqlalchemy.dialects import postgresql, sqlite

type Rows = Sequence[Mapping[str, Any]]


def adding(
    dialect: str, table: Table, rows: Rows, key: str
) -> tuple[Insert, Rows | Mapping[str, Any]]:
    """Return what inserts the rows that no unique column forbids, in their order, and its values.

    It returns the key of each. PostgreSQL is given one array for each column: a list of values
    would be another statement for each number of rows, to be parsed and planned anew.
    """
    columns = tuple(rows[0])
    if dialect == "sqlite":
        return _listed(table, key), rows
    arrays = {f"every_{name}": [row[name] for row in rows] for name in columns}
    return _unnested(table, columns, key), arrays


@cache
def _listed(table: Table, key: str) -> Insert:
    return sqlite.insert(table).on_conflict_do_nothing().returning(table.c[key])


@cache
def _unnested(table: Table, columns: tuple[str, ...], key: str) -> Insert:
    types = {name: table.c[name].type for name in columns}
    arrays = [bindparam(f"every_{n}", type_=postgresql.ARRAY(t)) for n, t in types.items()]
    given = (
        func.unnest(*arrays)
        .table_valued(*(named(n, t) for n, t in types.items()), with_ordinality="place")
        .render_derived()
    )
    rows = select(*(given.c[name] for name in columns)).order_by(given.c.place)
    inserted = postgresql.insert(table).from_select(columns, rows)
    return inserted.on_conflict_do_nothing().returning(table.c[key])
