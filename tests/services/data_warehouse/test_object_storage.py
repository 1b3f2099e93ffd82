"""The table in object storage: real HTTP to a server that speaks S3, on this machine."""

import threading

import pytest
from data_warehouse.forgetting import forget
from data_warehouse.table import StreamTable
from data_warehouse.upkeep import tidy
from deltalake import DeltaTable
from warehouses import ORIGIN, SCHEMA, entries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def sequences(bucket):
    table = DeltaTable(bucket.url, storage_options=bucket.options).to_pyarrow_table(
        columns=["sequence"]
    )
    return sorted(table["sequence"].to_pylist())


def test_messages_are_kept_once_in_object_storage(bucket):
    table, batch = StreamTable(bucket, SCHEMA), entries(1, 60)
    for part in (batch[40:], batch[:30], batch, batch[10:]):
        table.append(part, ORIGIN)
    for each in entries(61, 70):
        table.append([each], ORIGIN)
    tidy(bucket, keep_hours=1)
    table.append(batch, ORIGIN)
    assert sequences(bucket) == list(range(1, 71))


def test_two_writers_without_a_lock_leave_one_row_for_each_message(bucket):
    batch = entries(1, 60)
    parts = [batch[start : start + 10] for start in range(0, 60, 10)]
    StreamTable(bucket, SCHEMA).open()
    ready, failed = threading.Barrier(2), []

    def write(order):
        table = StreamTable(bucket, SCHEMA)
        ready.wait()
        try:
            for part in order:
                table.append(part, ORIGIN)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(o,)) for o in (parts, parts[::-1])]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert sequences(bucket) == list(range(1, 61))


def test_a_user_is_forgotten_in_object_storage(bucket):
    table, batch = StreamTable(bucket, SCHEMA), entries(1, 5)
    gone = batch[2]
    gone.fields["user_id"] = "user-number-three"
    table.append(batch, ORIGIN)
    assert forget(bucket, "user-number-three").rows == 1
    assert table.append(batch, ORIGIN) == 0
    rows = DeltaTable(bucket.url, storage_options=bucket.options).to_pyarrow_table(
        columns=["email"]
    )
    assert gone.fields["email"] not in rows["email"].to_pylist()
