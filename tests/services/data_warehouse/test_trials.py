"""What came of messages that were tried alone: in a folder, and in object storage."""

from datetime import UTC, datetime, timedelta

import pytest
from data_warehouse.place import Place
from data_warehouse.service import data_warehouse
from data_warehouse.trials import TrialRecord
from disks import fill, needs_mounts, small_disk
from seaway.errors import DependencyDown
from seaway.inbox import Trials
from seaway.testing import running
from warehouses import confirmed

pytestmark = pytest.mark.timeout(300)  # a server that speaks S3 takes its time to start

DURABLE = "data-warehouse-users"
STRANGE = "../../etc/passwd\0" + "é" * 500


@pytest.fixture(params=["a folder", pytest.param("object storage", marks=pytest.mark.slow)])
def place(request, tmp_path):
    if request.param == "a folder":
        return Place(str(tmp_path / "users.trials"))
    return request.getfixturevalue("bucket").beside("trials")


def test_a_trial_that_another_process_left_open_has_killed_it(place):
    for kills in range(4):
        record = TrialRecord(place)  # a process
        assert record.known(DURABLE, ["a", "b"]) == ({"a": Trials(0, kills)} if kills else {})
        assert record.begun(DURABLE, "a") == Trials(0, kills)
        assert record.begun(DURABLE, "a") == Trials(0, kills)  # one's own is nobody's death
        assert record.known(DURABLE, ["a", "b"]) == {"a": Trials(0, kills)}


def test_one_that_failed_or_was_released_has_killed_nobody(place):
    first = TrialRecord(place)
    first.begun(DURABLE, "a")
    assert [first.failed(DURABLE, "a"), first.failed(DURABLE, "a")] == [1, 2]
    second = TrialRecord(place)
    assert second.begun(DURABLE, "a") == Trials(2, 0)
    second.released(DURABLE, "a")
    assert TrialRecord(place).begun(DURABLE, "a") == Trials(2, 0)


def test_what_was_last_tried_long_ago_is_purged(place):
    record = TrialRecord(place)
    record.begun(DURABLE, "a")
    record.begun("another", "a")
    now = datetime.now(UTC)
    assert record.purge(DURABLE, now - timedelta(days=37)) == 0
    assert record.known(DURABLE, ["a"]) != {}
    assert record.purge(DURABLE, now + timedelta(days=37)) == 1
    assert (record.known(DURABLE, ["a"]), len(record.known("another", ["a"]))) == ({}, 1)
    assert record.purge("nobody", now) == 0


def test_what_is_done_or_forgotten_is_on_record_no_more(place):
    record = TrialRecord(place)
    for end in (record.handled, record.forget):
        record.begun(DURABLE, "a")
        record.begun(DURABLE, STRANGE)
        end(DURABLE, "a")
        end(DURABLE, "a")
        assert record.known(DURABLE, ["a", STRANGE]) == {STRANGE: Trials()}
    record.handled(DURABLE, "never begun")


def test_durables_know_nothing_of_each_other(place):
    record = TrialRecord(place)
    record.failed("one", "a")
    assert record.known("two", ["a"]) == {}
    assert record.begun("two", "a") == Trials()


def test_a_record_that_a_power_cut_has_torn_is_none(tmp_path):
    place = Place(str(tmp_path / "users.trials"))
    TrialRecord(place).failed(DURABLE, "a")
    [torn] = (tmp_path / "users.trials" / DURABLE).iterdir()
    torn.write_bytes(b"")
    assert TrialRecord(place).begun(DURABLE, "a") == Trials()


async def test_a_message_that_is_tried_alone_leaves_nothing_behind(tmp_path, warehouse_at, broker):
    url = str(tmp_path / "users")
    user = confirmed()
    async with warehouse_at(url) as dead:  # and so is what it has in memory
        await dead.begun(DURABLE, user.request_id, 6)
    async with warehouse_at(url) as warehouse:
        assert await warehouse.begun(DURABLE, user.request_id, 7) == Trials(0, 1)
        async with running(data_warehouse(warehouse, warehouse, within=0.0), broker=broker) as s:
            await s.send(user)
        assert await warehouse.trouble(DURABLE, [user.request_id]) == {}


@needs_mounts
async def test_a_full_disk_is_an_outage_and_no_failure(warehouse_at):
    with small_disk(2) as disk:
        async with warehouse_at(str(disk / "users")) as warehouse:
            ballast = fill(disk)
            with pytest.raises(DependencyDown):
                await warehouse.begun(DURABLE, "a", 2)
            ballast.unlink()
            assert await warehouse.begun(DURABLE, "a", 2) == Trials()
