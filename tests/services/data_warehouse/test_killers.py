"""A message that kills the process is set aside, and everything else has its row."""

import os
from collections import Counter
from pathlib import Path

import pytest
from backlogs import drained
from processes import Program, free_ports, supervised
from seaway.dead_letters import letters
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from warehouses import answered, requested, rows, sha256

DURABLE = "data-warehouse-users"
PERILOUS = Path(__file__).parents[2] / "support"
ALONE = 6
"""Deaths of a message alone that condemn it. Before that it dies in company."""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_exactly_the_message_that_kills_is_set_aside(tmp_path, capsys):
    url, [port] = str(tmp_path / "users"), free_ports(1)
    postings = answered(*(requested(email=f"{n}@example.org") for n in range(40)))
    [deadly, _] = answered(requested(display_name="abort"))
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        settings = {
            "SEAWAY_NATS_URL": server.url,
            "SEAWAY_WAREHOUSE_URL": url,
            "SEAWAY_WAREHOUSE_BATCH_SECONDS": "0.1",
            "PYTHONPATH": str(PERILOUS),
        }
        program = Program("perilous_warehouse", settings, tmp_path, port)
        async with program, supervised([program]):
            await broker.publish([*postings[:40], deadly, *postings[40:]])
            await drained(broker, within=400, durable=DURABLE)
            found = [letter async for letter in letters(broker)]
            stored = [s async for s in broker.scan("USERS", "users.v1.>")]
    with capsys.disabled():
        print(f"\n  {len(program.exits)} processes died of one message among {len(postings)}")
    killer = deadly.headers["ce-id"]
    assert {each.message_id: each.reason for each in found} == {killer: "KILLS_ITS_PROCESS"}
    assert len(program.exits) >= ALONE
    events = Counter((s.headers["ce-id"], sha256(s)) for s in stored)
    del events[killer, sha256(deadly)]
    assert Counter((row["event_id"], row["sha256"]) for row in rows(url)) == events
    assert events.total() == len(postings) * 3 // 2
    assert os.listdir(f"{url}.trials/{DURABLE}") == []
