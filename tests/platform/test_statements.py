"""Statements that are parsed once, however many rows they are given."""

import pytest
from seaway.database import inbox_table
from seaway.database.statements import adding
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

ROWS = [
    {
        "durable": "d",
        "message_id": f"m{number}",
        "sequence": number,
        "sha256": b"",
        "replies": "[]",
    }
    for number in range(300)
]


@pytest.mark.parametrize("count", [1, 2, 300])
def test_on_postgresql_any_number_of_rows_is_the_same_statement(count):
    first, _ = adding("postgresql", inbox_table, ROWS[:1], "message_id")
    statement, values = adding("postgresql", inbox_table, ROWS[:count], "message_id")
    assert statement is first
    assert values["every_message_id"] == [row["message_id"] for row in ROWS[:count]]


def test_postgresql_is_told_to_keep_the_order_of_the_rows():
    statement, _ = adding("postgresql", inbox_table, ROWS, "message_id")
    text = str(statement.compile(dialect=PGDialect_asyncpg()))
    assert "WITH ORDINALITY" in text
    assert "ORDER BY anon_1.place ON CONFLICT DO NOTHING RETURNING" in " ".join(text.split())
