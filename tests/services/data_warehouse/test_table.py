"""The table under other writers, other releases, a full disk and a power cut."""

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from data_warehouse import power_cut
from data_warehouse.forgetting import forget
from data_warehouse.place import Place
from data_warehouse.service import data_warehouse
from data_warehouse.table import StreamTable
from data_warehouse.upkeep import tidy
from data_warehouse.writer_lock import sole_writer
from deltalake import DeltaTable, write_deltalake
from disks import fill, needs_mounts, small_disk
from pyarrow.fs import PyFileSystem, SubTreeFileSystem
from seaway.errors import DependencyDown, SettingsError
from seaway.testing import running
from warehouses import ORIGIN, SCHEMA, answered, confirmed, entries, entry, requested, rows


def sequences(url):
    return [row["sequence"] for row in rows(url, ["sequence"])]


async def test_two_writers_at_once_leave_one_row_for_each_message(url):
    batch = entries(1, 200)
    parts = [batch[start : start + 10] for start in range(0, 200, 10)]
    ready = threading.Barrier(2)

    def write(order):
        table = StreamTable(Place(url), SCHEMA)
        ready.wait()
        for part in order:
            table.append(part, ORIGIN)

    writers = [threading.Thread(target=write, args=(o,)) for o in (parts, parts[::-1])]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sequences(url) == list(range(1, 201))


async def test_without_a_lock_the_commit_itself_refuses_the_second_writer(url, monkeypatch):
    # As in object storage, where there is no lock.
    batch = entries(1, 20)
    first, second = (StreamTable(Place(url), SCHEMA) for _ in range(2))
    first.open(), second.open()
    stale = second._table
    first.append(batch, ORIGIN)
    monkeypatch.setattr(second, "_current", lambda: second._table or first._current())
    assert second._table is stale  # it has not seen the first one's commit
    assert second.append(batch, ORIGIN) == 0
    assert sequences(url) == list(range(1, 21))


def test_a_writer_waits_for_another_and_says_so_in_the_end(url):
    with (
        sole_writer(url, 1),
        pytest.raises(DependencyDown, match="another writer"),
        sole_writer(url, 0.2),
    ):
        pass


def test_late_messages_are_kept_although_newer_ones_were_first(url):
    table, batch = StreamTable(Place(url), SCHEMA), entries(1, 30)
    for part in (batch[20:], batch[:5], batch[10:25], batch[5:12], batch):
        table.append(part, ORIGIN)
    assert sequences(url) == list(range(1, 31))


def test_a_table_of_an_older_release_is_given_the_columns_that_it_lacks(url):
    older = pa.schema([field for field in SCHEMA if field.name not in {"kind", "at", "locale"}])
    StreamTable(Place(url), older).open()
    StreamTable(Place(url), SCHEMA).append(entries(1, 3), ORIGIN)
    assert rows(url, ["locale", "kind"]) == [{"locale": "en", "kind": None}] * 3


def test_a_table_of_a_newer_release_keeps_its_columns(url):
    newer = pa.schema([*SCHEMA, ("plan", pa.string())])
    StreamTable(Place(url), newer).open()
    StreamTable(Place(url), SCHEMA).append(entries(1, 3), ORIGIN)
    assert rows(url, ["plan"]) == [{"plan": None}] * 3


@pytest.mark.parametrize(
    ("there", "by", "said"),
    [
        ([("email", pa.int64()), ("date", pa.date32())], ["date"], "has column email as int64"),
        ([("email", pa.string())], None, "is not partitioned by date"),
    ],
)
async def test_another_table_is_refused_by_name(warehouse_at, url, there, by, said):
    write_deltalake(url, pa.schema(there).empty_table(), partition_by=by)
    with pytest.raises(SettingsError, match=f"{Path(url).name}/? {said}"):
        async with warehouse_at(url):
            pass


def test_upkeep_makes_many_files_one_and_forgets_nothing(url):
    table = StreamTable(Place(url), SCHEMA)
    batch = entries(1, 40)
    for each in batch:
        table.append([each], ORIGIN)
    before = rows(url)
    tidy(Place(url), keep_hours=24)
    assert len(DeltaTable(url).file_uris()) == 1
    assert rows(url) == before
    assert table.append(batch, ORIGIN) == 0  # the watermark is in the checkpoint
    assert table.append(entries(41, 41), ORIGIN) == 1


def test_a_table_is_opened_whose_log_has_been_cut_short(url):
    """Upkeep deletes what is older than 30 days; a checkpoint has it."""
    batch = entries(1, 6)
    StreamTable(Place(url), SCHEMA).append(batch[:1], ORIGIN)
    first = min(Path(url, "_delta_log").glob("*.json"))
    for each in batch[1:5]:
        StreamTable(Place(url), SCHEMA).append([each], ORIGIN)
    long_ago = time.time() - 40 * 86400
    for path in Path(url, "_delta_log").glob("*.json"):
        os.utime(path, (long_ago, long_ago))
    tidy(Place(url), keep_hours=24)
    assert not first.exists()
    assert StreamTable(Place(url), SCHEMA).append(batch, ORIGIN) == 1
    assert sequences(url) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("by", ["upkeep", "forgetting"])
def test_nothing_is_deleted_before_what_replaces_it_is_on_the_disk(url, by, monkeypatch):
    on_disk, sync, vacuum = set(), power_cut._sync, DeltaTable.vacuum

    def noted(path):
        on_disk.add(path)
        sync(path)

    def checked(table, *rules, **more):
        needed = {Path(uri.removeprefix("file://")) for uri in table.file_uris()}
        needed |= {*Path(url, "_delta_log").glob("*.json")}
        needed |= {*Path(url, "_delta_log").glob("*.checkpoint*")}
        assert needed - on_disk == set()
        asked.append(by)
        return vacuum(table, *rules, **more)

    asked = []
    monkeypatch.setattr(power_cut, "_sync", noted)
    monkeypatch.setattr(DeltaTable, "vacuum", checked)
    table = StreamTable(Place(url), SCHEMA)
    for each in entries(1, 20):
        table.append([each], ORIGIN)
    user = confirmed()
    table.append([entry(user, 21)], ORIGIN)
    if by == "upkeep":
        tidy(Place(url), keep_hours=24)
    else:
        forget(Place(url), user.user_id)
    assert asked == [by]


def test_nothing_personal_is_in_the_log_of_the_table(url):
    StreamTable(Place(url), SCHEMA).append(entries(1, 3, display_name="Zaphod"), ORIGIN)
    log = "".join(file.read_text() for file in Path(url, "_delta_log").glob("*.json"))
    assert "maxValues" in log
    assert "example.org" not in log
    assert "Zaphod" not in log


@pytest.mark.parametrize("torn", ["log", "rows"])
def test_a_commit_that_a_power_cut_has_torn_is_taken_back(url, torn):
    table, batch = StreamTable(Place(url), SCHEMA), entries(1, 20)
    table.append(batch[:10], ORIGIN)
    kept = set(Path(url).glob("date=*/*"))
    table.append(batch[10:], ORIGIN)
    last = max(Path(url, "_delta_log").glob("*.json"))
    [new] = set(Path(url).glob("date=*/*")) - kept
    (last if torn == "log" else new).write_bytes(b"")
    after_the_cut = StreamTable(Place(url), SCHEMA)
    after_the_cut.open()
    assert sequences(url) == list(range(1, 11))
    assert after_the_cut.append(batch, ORIGIN) == 10
    assert sequences(url) == list(range(1, 21))


@pytest.mark.parametrize("left", [0, 200])
@pytest.mark.parametrize("torn", ["checkpoint", "last"])
def test_a_checkpoint_that_a_power_cut_has_torn_is_left_out(url, torn, left):
    table, batch = StreamTable(Place(url), SCHEMA), entries(1, 20)
    table.append(batch[:10], ORIGIN)
    table.open().create_checkpoint()
    log = Path(url, "_delta_log")
    [checkpoint] = log.glob("*.checkpoint.parquet")
    found = {"checkpoint": checkpoint, "last": log / "_last_checkpoint"}[torn]
    found.write_bytes(found.read_bytes()[:left] if torn == "checkpoint" else b"{"[:left])
    assert StreamTable(Place(url), SCHEMA).append(batch, ORIGIN) == 10
    assert sequences(url) == list(range(1, 21))
    DeltaTable(url).create_checkpoint()
    assert sequences(url) == list(range(1, 21))


@needs_mounts
async def test_on_a_full_disk_nothing_is_lost_and_nothing_is_set_aside(warehouse_at, broker):
    with small_disk(8) as disk:
        url = str(disk / "users")
        async with warehouse_at(url) as warehouse:
            service = data_warehouse(warehouse, warehouse, within=0.0)
            async with running(service, broker=broker) as system:
                await system.send(confirmed())
                ballast = fill(disk)
                await broker.publish(
                    postings := answered(*(requested(email=f"{n}@example.org") for n in range(50)))
                )
                with pytest.raises(TimeoutError):
                    await system.settled(within=1.0)
                assert not await warehouse.ready()
                ballast.unlink()
                await system.settled(within=20.0)
                assert await warehouse.ready()
                assert system.dead_letters == []
        kept = [row["event_id"] for row in rows(url)]
        assert len(kept) == len(set(kept)) == len(broker.messages("USERS"))
        assert {posting.headers["ce-id"] for posting in postings} <= set(kept)


def test_no_thread_that_reads_files_takes_pythons_lock(url):
    # Of such a process, one in seven was aborted at its end on two busy cores (pyarrow 26).
    StreamTable(Place(url), SCHEMA).append(entries(1, 3), ORIGIN)
    files = Place(url).table().to_pyarrow_dataset()
    assert files.count_rows() == 3
    assert isinstance(files.filesystem, SubTreeFileSystem)
    assert not isinstance(files.filesystem.base_fs, PyFileSystem)
