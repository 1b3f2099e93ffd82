"""Upkeep comes round by itself, and batches are as large, and wait as long, as was promised."""

import shutil
from pathlib import Path

import pytest
from data_warehouse.place import Place
from data_warehouse.service import data_warehouse
from data_warehouse.table import StreamTable
from data_warehouse.upkeep import Upkeep
from deltalake import DeltaTable
from prometheus_client import REGISTRY
from waiting import until
from warehouses import ORIGIN, SCHEMA, entries, rows

pytestmark = pytest.mark.timeout(300)

WITHIN = 120.0


def failed():
    return REGISTRY.get_sample_value("seaway_warehouse_upkeep_failed_total")


def torn(log):
    """Make a table's log unreadable; return where a copy of it is."""
    away = log.parent.with_name("copy")
    shutil.copytree(log, away)
    for commit in log.glob("*.json"):
        commit.write_text("{")
    return away


async def test_small_files_are_made_one_while_the_service_runs(url):
    table = StreamTable(Place(url), SCHEMA)
    for each in entries(1, 12):
        table.append([each], ORIGIN)
    before, many = rows(url), len(DeltaTable(url).file_uris())
    async with Upkeep(Place(url), every=0.05, keep_hours=24):
        await until(lambda: len(DeltaTable(url).file_uris()) == 1, WITHIN)
    assert many == 12
    assert rows(url) == before


async def test_a_round_that_fails_is_counted_and_another_makes_up_for_it(url):
    table = StreamTable(Place(url), SCHEMA)
    for each in entries(1, 12):
        table.append([each], ORIGIN)
    log = Path(url, "_delta_log")
    away = torn(log)
    wrong = failed()
    async with Upkeep(Place(url), every=0.05, keep_hours=24):
        await until(lambda: failed() >= wrong + 2, WITHIN)
        shutil.copytree(away, log, dirs_exist_ok=True)
        await until(lambda: len(DeltaTable(url).file_uris()) == 1, WITHIN)
    assert len(rows(url)) == 12


def test_a_commit_holds_a_thousand_messages_or_those_of_five_seconds(warehouse):
    [subscription] = data_warehouse(warehouse, warehouse).subscriptions
    assert (subscription.up_to, subscription.within) == (1000, 5.0)
