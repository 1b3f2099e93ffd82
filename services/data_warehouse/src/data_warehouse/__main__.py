"""python -m data_warehouse."""

from seaway import Service
from seaway.contract import address_of, installed_types
from seaway.process import Process, serve

from data_warehouse.entries import schema_of
from data_warehouse.place import Place
from data_warehouse.service import STREAM, data_warehouse
from data_warehouse.settings import WarehouseSettings
from data_warehouse.upkeep import Upkeep
from data_warehouse.warehouse import DeltaWarehouse


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(WarehouseSettings)
    place = Place.of(settings)
    types = [t for t in installed_types().values() if address_of(t).stream.name == STREAM]
    table = DeltaWarehouse(place, schema_of(types), STREAM, process.broker)
    warehouse = process.during(table)
    process.during(Upkeep(place, settings.warehouse_upkeep_seconds, settings.warehouse_keep_hours))
    process.before(warehouse.prepare)
    process.ready_when("table", warehouse.ready)
    return data_warehouse(warehouse, warehouse, within=settings.warehouse_batch_seconds)


if __name__ == "__main__":
    serve("data-warehouse", build)
