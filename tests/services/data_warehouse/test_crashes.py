"""Killed at each point of its way, by itself and from outside: the rows are the events."""

import asyncio
import json
import random
from collections import Counter

import pytest
from backlogs import drained
from deltalake import DeltaTable
from processes import Program, free_ports
from seaway.failpoints import POINTS
from seaway.jetstream import JetStream
from seaway.testing import crash_points, killed_at, nats_server
from waiting import until
from warehouses import answered, confirmed, requested, rows, sha256

DURABLE = "data-warehouse-users"
COMMAND = ["python", "-m", "data_warehouse"]


def settings(url):
    return {"SEAWAY_WAREHOUSE_URL": url, "SEAWAY_WAREHOUSE_BATCH_SECONDS": "0.2"}


async def stream(broker):
    """Every message that the stream keeps, redrives left out: id and hash."""
    kept = broker.scan("USERS", "users.v1.>")
    return Counter([(s.headers["ce-id"], sha256(s)) async for s in kept])


def table(url):
    return Counter((row["event_id"], row["sha256"]) for row in rows(url))


@pytest.mark.slow
@pytest.mark.parametrize("crash", crash_points("U1", "W1", "W2", "U4", "U5"), ids=str)
async def test_a_kill_at_any_point_leaves_one_row_for_each_event(crash, tmp_path):
    assert crash.point in POINTS
    url = str(tmp_path / "users")
    async with killed_at(crash, COMMAND, settings(url)) as system:
        await system.send(*(confirmed(email=f"{n}@example.org") for n in range(30)))
        assert await system.dead_letters() == []
        events = await stream(system.broker)
    assert events.total() == 60  # thirty users, and that each was added
    assert table(url) == events


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_kills_while_batches_are_in_flight_leave_one_row_for_each_event(tmp_path, capsys):
    chance, url = random.Random(seed := random.randrange(10**6)), str(tmp_path / "users")
    postings = answered(*(requested(email=f"{n}@example.org") for n in range(4000)))
    hits = 0
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        environment = {**settings(url), "SEAWAY_NATS_URL": server.url}
        async with Program("data_warehouse", environment, tmp_path, free_ports(1)[0]) as program:
            for start in range(0, len(postings), 500):
                await broker.publish(postings[start : start + 500])
                await until(lambda: has_in_hand(broker), within=20, every=chance.uniform(0, 0.2))
                await program.kill()
                hits += await has_in_hand(broker)
                await program.start()
            await drained(broker, within=60, durable=DURABLE)
            _, said = await asyncio.to_thread(program.asked, "/audit?stream=USERS")
        events, commits = await stream(broker), DeltaTable(url).version()
    with capsys.disabled():
        print(f"\nseed {seed}: {program.kills} kills, {hits} over deliveries, {commits} commits")
    assert hits > 0
    assert table(url) == events
    told = [json.loads(line) for line in said.splitlines()]
    assert Counter((t["message_id"], t["sha256"]) for t in told if "message_id" in t) == events
    assert sum("row" in t for t in told) == len(postings) // 2
    assert len(events) == len(postings) * 3 // 2


async def has_in_hand(broker):
    """Whether some messages are delivered and not settled."""
    return (await broker.durables("USERS"))[DURABLE].ack_pending > 0
