"""The monitor as a process of its own, beside real services that come and go."""

import asyncio
import signal
from contextlib import asynccontextmanager

import pytest
from auditing import endpoints
from monitors import Watching, equals
from processes import Processes, Program, free_ports
from seaway.audit import settled
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from sign_ups import SignUp, a_request, clients, sign_up
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OWNER = "user-creation-create-user-requested"
MODULE = "seaway.monitor"


@asynccontextmanager
async def watching(system, **settings):
    """Run a monitor of a system."""
    asked = [f"{name}={url}" for name, urls in endpoints(system).items() for url in urls]
    told = {
        "SEAWAY_NATS_URL": system.server.url,
        "SEAWAY_AUDIT_SERVICES": ",".join(asked),
        "SEAWAY_AUDIT_EVERY": "0.2",
        "SEAWAY_LOOK_EVERY": "0.2",
        **settings,
    }
    async with Watching(MODULE, told, system.folder, free_ports(1)[0]) as monitor:
        yield monitor


@asynccontextmanager
async def a_system(folder):
    async with (
        Processes(folder, f"sqlite+aiosqlite:///{folder}/test.db") as system,
        clients(system.grpc_ports) as stubs,
        JetStream(system.server.url, "saboteur") as broker,
    ):
        await broker.connected()
        yield system, stubs, broker


async def test_it_exports_what_is_wrong_until_it_is_mended(tmp_path):
    async with a_system(tmp_path) as (system, stubs, broker), watching(system) as monitor:
        for _ in range(2):  # the second one is rejected
            done = await sign_up(stubs, SignUp(a_request(email="ada@example.org")))
        assert await settled(broker, 60)
        unaccounted = {"durable": OWNER, "kind": "request without outcome"}
        await monitor.exports(lambda v: v >= 4, "seaway_stream_messages", stream="USERS")
        await monitor.exports(equals(0), "seaway_lag_seconds", durable=OWNER)
        await monitor.exports(equals(0), "seaway_unaccounted_messages", **unaccounted)
        await monitor.exports(equals(1), "seaway_audit_answered", service="user-creation")
        outcome = await broker.read("USERS", f"users.v1.create-rejected.{done.request_id}")
        assert await broker.remove("USERS", outcome.sequence)
        await monitor.exports(equals(1), "seaway_unaccounted_messages", **unaccounted)
        await broker.rewind_durable("USERS", OWNER, 1)  # the inbox has the outcome
        await monitor.exports(equals(0), "seaway_unaccounted_messages", **unaccounted)
        assert await monitor.stop(signal.SIGTERM, within=60) == 0
    said = monitor.text()
    assert said.count('"event": "unaccounted"') == 1
    assert said.count('"event": "accounted for"') == 1
    assert done.request_id in said
    assert "ada@" not in said


async def test_it_waits_for_whoever_is_away_and_says_so(tmp_path):
    async with a_system(tmp_path) as (system, _, _), watching(system) as monitor:
        (worker,) = system.workers
        answered = ("seaway_audit_answered",)
        await monitor.exports(equals(1), *answered, service="user-creation")
        await worker.stop()
        await monitor.exports(equals(0), *answered, service="user-creation")
        assert await asyncio.to_thread(monitor.value, *answered, service="gateway") == 1
        assert (await asyncio.to_thread(monitor.asked, "/livez"))[0] == 200
        stopped_at = await asyncio.to_thread(monitor.value, "seaway_audit_timestamp_seconds")
        await worker.start()
        await monitor.exports(equals(1), *answered, service="user-creation")
        await monitor.exports(lambda v: v > stopped_at, "seaway_audit_timestamp_seconds")
        await system.server.kill()
        await until(lambda: asyncio.to_thread(lambda: not monitor.is_ready()), 60)
        assert (await asyncio.to_thread(monitor.asked, "/livez"))[0] == 200
        killed_at = await asyncio.to_thread(monitor.value, "seaway_looked_timestamp_seconds")
        await system.server.restart()
        await monitor.exports(lambda v: v > killed_at, "seaway_looked_timestamp_seconds")
        await monitor.ready(60)


async def test_it_wants_no_streams_and_makes_none(tmp_path):
    told = {"SEAWAY_AUDIT_SERVICES": "crm=http://127.0.0.1:1"}
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        told["SEAWAY_NATS_URL"] = server.url
        async with Watching(MODULE, told, tmp_path, free_ports(1)[0]) as monitor:
            await monitor.ready(60)
            await monitor.exports(lambda v: v > 0, "seaway_looked_timestamp_seconds")
            await broker.connected()
            assert await broker.streams() == {}
            # Nothing is stored, so nobody was asked.
            assert (
                await asyncio.to_thread(monitor.value, "seaway_audit_answered", service="crm") == 0
            )


async def test_a_setting_that_is_wrong_ends_it_with_78(tmp_path):
    told = {"SEAWAY_AUDIT_SERVICES": "crm"}
    monitor = Program(MODULE, told, tmp_path, free_ports(1)[0])
    await monitor.start()
    assert await asyncio.wait_for(monitor.process.wait(), 60) == 78
    assert "SEAWAY_AUDIT_SERVICES: 'crm' is not NAME=http://HOST:PORT" in monitor.text()
