"""`seaway warehouse`: the real command, on the table of a service that runs."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_warehouse.entries import as_arrow
from data_warehouse.place import Place
from data_warehouse.upkeep import tidy
from deltalake import DeltaTable, write_deltalake
from warehouses import SCHEMA, a_running_warehouse, requested, rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
async def running(tmp_path):
    async with a_running_warehouse(tmp_path, str(tmp_path / "users")) as system:
        yield system


def sign_ups(count):
    return [requested(email=f"user-{n}@example.org", locale="en") for n in range(count)]


async def test_a_question_in_sql_is_answered(running):
    await running.keep(*sign_ups(5))
    counted = "select type, count(*) as n from users group by type order by type"
    code, lines, _ = await running.command("query", "--json", counted)
    assert code == 0
    assert [json.loads(line) for line in lines] == [
        {"type": "CreateUserConfirmed", "n": 5},
        {"type": "CreateUserRequested", "n": 5},
        {"type": "UserAddedToWarehouse", "n": 5},
    ]
    code, lines, _ = await running.command("query", counted)
    assert lines[:2] == ["type                  n", "CreateUserConfirmed   5"]


async def test_a_question_that_is_none_is_refused(running):
    await running.keep(*sign_ups(1))
    code, lines, said = await running.command("query", "select nothing from nowhere")
    assert (code, lines) == (1, [])
    assert "nowhere" in said


async def test_a_rebuilt_table_has_what_the_stream_has_and_what_it_had(running):
    early = sign_ups(3)
    await running.keep(*early)
    before = running.kept()
    for sequence in range(1, 4):  # as if they had aged out
        await running.broker.remove("USERS", sequence)
    async for each in running.broker.scan("USERS", "users.v1.>"):
        first = each.sequence
        break
    assert first == 4
    code, lines, said = await running.command("rebuild", "--dry-run")
    assert (code, said) == (0, "")
    assert lines[0].endswith("carried over 3 rows that the stream keeps no more")
    assert [line.split() for line in lines[1:]] == [
        ["missing", "0"],
        ["unexpected", "0"],
        ["changed", "0"],
        ["twice", "0"],
    ]
    assert (
        len(DeltaTable(running.url).history())
        == (version := DeltaTable(running.url).version()) + 1
    )
    code, lines, _ = await running.command("rebuild")
    assert code == 0
    assert DeltaTable(running.url).version() == version + 1
    assert running.kept() == before
    await running.keep(*sign_ups(2))  # and the service goes on where it was
    assert running.kept().total() == before.total() + 6
    assert set(running.kept().values()) == {1}


async def test_a_rebuild_names_and_mends_what_is_wrong_with_a_table(running):
    await running.keep(*sign_ups(4))
    good = rows(running.url)
    bad = [{**row, "email": "wrong"} if row["sequence"] == 3 else row for row in good]
    there = DeltaTable(running.url)
    write_deltalake(there, as_arrow(bad[:1] + bad[2:], SCHEMA), mode="overwrite")
    code, lines, _ = await running.command("rebuild", "--dry-run")
    assert code == 1
    found = dict(line.split(":")[0].split() for line in lines[1:])
    assert found == {"missing": "1", "unexpected": "0", "changed": "1", "twice": "0"}
    assert good[1]["event_id"] in lines[1]
    code, *_ = await running.command("rebuild")
    assert code == 0

    def facts(row):
        return {name: value for name, value in row.items() if name != "ingested_at"}

    assert [facts(row) for row in rows(running.url)] == [facts(row) for row in good]


async def test_a_forgotten_user_is_nowhere_and_does_not_come_back(running, tmp_path):
    gone, other = requested(email="gone@bücher.example"), requested(email="stays@example.org")
    also = requested(email="GONE@xn--bcher-kva.example")
    await running.keep(gone, other, *sign_ups(3))
    await running.keep(also)
    tidy(Place(running.url), keep_hours=24)
    user = next(
        row["user_id"]
        for row in rows(running.url)
        if row["email"] == gone.email and row["user_id"]
    )
    code, lines, _ = await running.command("forget", user)
    assert (code, lines) == (0, ["forgotten: 6 rows of 2 conversations deleted"])
    assert nowhere(running.url, gone.email, also.email)
    assert not nowhere(running.url, "stays@example.org")
    await running.broker.rewind_durable("USERS", "data-warehouse-users", 1)
    await running.keep(requested(email="new@example.org"))
    assert nowhere(running.url, gone.email, also.email)
    code, lines, _ = await running.command("rebuild")
    assert code == 0
    assert nowhere(running.url, gone.email, also.email)
    code, lines, _ = await running.command("query", "--json", "select user_id from forgotten")
    assert [json.loads(line)["user_id"] for line in lines] == [user] * 2
    code, lines, said = await running.command("forget", "nobody")
    assert (code, said) == (1, "seaway: there is nothing of user nobody\n")


def nowhere(url, *emails):
    """Whether no file of the table, current or old, holds one of these, and no line of its log."""
    parquet = [f for f in Path(url).rglob("*.parquet") if "_delta_log" not in f.parts]
    assert parquet
    tables = [pq.read_table(file, columns=["email"], partitioning=None) for file in parquet]
    in_files = any({*emails} & {*table["email"].to_pylist()} for table in tables)
    log = "".join(f.read_text() for f in Path(url).rglob("_delta_log/*.json"))
    return not in_files and not any(email in log for email in emails)
