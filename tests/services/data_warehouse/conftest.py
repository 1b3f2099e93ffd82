"""A warehouse in a folder of the test's own."""

import pytest
from data_warehouse.place import Place
from data_warehouse.service import STREAM, data_warehouse
from data_warehouse.warehouse import DeltaWarehouse
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
