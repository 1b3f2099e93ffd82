"""A backlog, and how fast the table takes it."""

import time

import psutil
import pytest
from deltalake import DeltaTable
from warehouses import a_running_warehouse, answered, requested

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BACKLOG = 20_000
WITHIN = 60.0


async def test_twenty_thousand_messages_are_kept_within_a_minute(tmp_path, capsys):
    settings = {"SEAWAY_WAREHOUSE_BATCH_SECONDS": "5.0"}
    url = str(tmp_path / "users")
    async with a_running_warehouse(tmp_path, url, **settings) as running:
        await running.process.stop()
        postings = answered(*(requested(email=f"{n}@example.org") for n in range(BACKLOG // 2)))
        for start in range(0, BACKLOG, 1000):
            await running.broker.publish(postings[start : start + 1000])
        began = time.perf_counter()
        await running.process.start()
        await running.until_kept(BACKLOG)
        took = time.perf_counter() - began
        resident = (
            max(
                c.memory_info().rss
                for c in psutil.Process().children()
                if "data_warehouse" in c.cmdline()
            )
            >> 20
        )
        await running.settled()
        # And once more, as after a power cut of the broker: no new row.
        kept, version = running.kept(), DeltaTable(url).version()
        began = time.perf_counter()
        await running.broker.rewind_durable("USERS", "data-warehouse-users", 1)
        await running.settled()
        again = time.perf_counter() - began
        assert (running.kept(), DeltaTable(url).version()) == (kept, version)
        assert set(kept.values()) == {1}
        assert kept == await running.stored()
    with capsys.disabled():
        print(
            f"\n{BACKLOG} messages: {BACKLOG / took:.0f}/s, {took:.1f} s, the start included; "
            f"{resident} MB resident; {kept.total()} once more: {kept.total() / again:.0f}/s"
        )
    assert took <= WITHIN
