"""The table in object storage: real HTTP to a server that speaks S3, on this machine."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from data_warehouse.forgetting import forget
from data_warehouse.place import Place
from data_warehouse.settings import WarehouseSettings
from data_warehouse.table import StreamTable
from data_warehouse.upkeep import tidy
from deltalake import DeltaTable
from processes import free_ports
from waiting import until
from warehouses import ORIGIN, SCHEMA, entries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def endpoint():
    """A server that speaks S3, with an empty bucket."""
    port = free_ports(1)[0]
    moto = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        [moto, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        asyncio.run(until(lambda: answers(port), within=30))
        endpoint = f"http://127.0.0.1:{port}"
        urlopen(Request(f"{endpoint}/lake", method="PUT"), timeout=5).close()
        yield endpoint
        server.kill()


@pytest.fixture
def place(endpoint, tmp_path, monkeypatch):
    """A table in that bucket; the service is told the way in by mounted files."""
    (tmp_path / "warehouse_s3_access_key_id").write_text("ours")
    (tmp_path / "warehouse_s3_secret_access_key").write_text("s3cret")
    monkeypatch.setenv("SEAWAY_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("SEAWAY_WAREHOUSE_URL", "s3://lake/warehouse/users")
    monkeypatch.setenv("SEAWAY_WAREHOUSE_S3_ENDPOINT", endpoint)
    settings = WarehouseSettings.from_environment()
    place = Place.of(settings)
    assert "s3cret" not in f"{settings!r} {place!r}"
    return place


def answers(port):
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


def sequences(place):
    table = DeltaTable(place.url, storage_options=place.options).to_pyarrow_table(
        columns=["sequence"]
    )
    return sorted(table["sequence"].to_pylist())


def test_messages_are_kept_once_in_object_storage(place):
    table, batch = StreamTable(place, SCHEMA), entries(1, 60)
    for part in (batch[40:], batch[:30], batch, batch[10:]):
        table.append(part, ORIGIN)
    for each in entries(61, 70):
        table.append([each], ORIGIN)
    tidy(place, keep_hours=1)
    table.append(batch, ORIGIN)
    assert sequences(place) == list(range(1, 71))


def test_two_writers_without_a_lock_leave_one_row_for_each_message(place):
    batch = entries(1, 60)
    parts = [batch[start : start + 10] for start in range(0, 60, 10)]
    StreamTable(place, SCHEMA).open()
    ready, failed = threading.Barrier(2), []

    def write(order):
        table = StreamTable(place, SCHEMA)
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
    assert sequences(place) == list(range(1, 61))


def test_a_user_is_forgotten_in_object_storage(place):
    table, batch = StreamTable(place, SCHEMA), entries(1, 5)
    gone = batch[2]
    gone.fields["user_id"] = "user-number-three"
    table.append(batch, ORIGIN)
    assert forget(place, "user-number-three").rows == 1
    assert table.append(batch, ORIGIN) == 0
    rows = DeltaTable(place.url, storage_options=place.options).to_pyarrow_table(columns=["email"])
    assert gone.fields["email"] not in rows["email"].to_pylist()
