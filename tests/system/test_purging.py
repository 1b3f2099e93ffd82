"""A running service lets go of what the stream has forgotten."""

import pytest
from backlogs import drained, metric
from processes import Processes
from seaway.jetstream import JetStream
from sign_ups import SignUp, a_request, clients, sign_up
from sql import on
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_a_running_service_purges_what_the_stream_has_forgotten(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/test.db"
    async with (
        Processes(tmp_path, url) as system,
        JetStream(system.server.url, "test") as broker,
    ):
        await broker.connected()
        [worker] = system.workers
        async with clients(system.grpc_ports) as stubs:
            for _ in range(3):
                await sign_up(stubs, SignUp(a_request()))
        await drained(broker)
        await worker.stop()
        # 38 days go by, and somebody signed up since.
        last = await on(url, "SELECT max(sequence) FROM inbox")
        for sequence in range(1, last):
            await broker.remove("USERS", sequence)
        old = "UPDATE inbox SET handled_at = datetime('now', '-38 days') WHERE sequence < "
        await on(url, f"{old}{last}")
        await worker.start()
        await worker.ready()

        async def only_the_last_is_left():
            return await on(url, "SELECT count(*) FROM inbox") == 1

        await until(only_the_last_is_left)
        await until(lambda: '"event": "purged"' in worker.text())
        assert metric(worker, "seaway_messages_purged_total") == 2
        assert await on(url, "SELECT sequence FROM inbox") == last
        assert await on(url, "SELECT count(*) FROM users") == 3
