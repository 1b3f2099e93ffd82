"""A warehouse in a folder of the test's own."""

import pytest
from data_warehouse.place import Place
from data_warehouse.service import STREAM, data_warehouse
from data_warehouse.settings import WarehouseSettings
from data_warehouse.warehouse import DeltaWarehouse
from object_store import object_store
from seaway.testing import MemoryBroker
from warehouses import SCHEMA


@pytest.fixture
def broker():
    return MemoryBroker(hurried=True)


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "warehouse/users")


@pytest.fixture
def warehouse_at(broker):
    """Return a function that makes a warehouse: a replica of the service."""

    def make(url):
        return DeltaWarehouse(Place(url), SCHEMA, STREAM, broker)

    return make


@pytest.fixture
async def warehouse(warehouse_at, url):
    async with warehouse_at(url) as warehouse:
        yield warehouse


@pytest.fixture
def service(warehouse):
    return data_warehouse(warehouse, warehouse, within=0.0)


@pytest.fixture(scope="session")
def store():
    """A server that speaks S3."""
    with object_store() as store:
        yield store


@pytest.fixture
def bucket(store, tmp_path, monkeypatch):
    """A place in object storage; the service is told the way in by mounted files."""
    (tmp_path / "warehouse_s3_access_key_id").write_text("ours")
    (tmp_path / "warehouse_s3_secret_access_key").write_text("s3cret")
    monkeypatch.setenv("SEAWAY_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("SEAWAY_WAREHOUSE_URL", f"s3://{store.new_bucket()}/warehouse/users")
    monkeypatch.setenv("SEAWAY_WAREHOUSE_S3_ENDPOINT", store.endpoint)
    settings = WarehouseSettings.from_environment()
    place = Place.of(settings)
    assert "s3cret" not in f"{settings!r} {place!r}"
    return place
