"""A service's main in the loop of a test: how it becomes ready, and how it ends."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from mains import told_of_a_broker
from seaway.dev.health import ask_health
from seaway.inbox import MemoryInbox
from seaway.process import Process, running
from seaway.process.running import run
from seaway.service import Service
from seaway.topology import apply
from structlog.testing import capture_logs
from waiting import until
from workers import DURABLE, a_request, confirmed, posting_of


@pytest.fixture
def logs():
    with capture_logs() as logs:
        yield logs


@pytest.fixture
async def nats(monkeypatch):
    async with told_of_a_broker(monkeypatch) as broker:
        yield broker


@dataclass
class Main:
    """One that runs, as its orchestrator sees it."""

    logs: list
    process: Process = field(default_factory=lambda: Process("user-creation"))
    service: Service = field(default_factory=lambda: Service("user-creation", MemoryInbox()))
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self):
        @self.service.on(CreateUserRequested)
        async def create(message) -> CreateUserConfirmed:
            self.begun.set()
            await self.go_on.wait()
            return confirmed(message)

    @asynccontextmanager
    async def running(self):
        self.task = asyncio.create_task(run(self.process, self.service))
        try:
            await until(lambda: self.said("started") or self.task.done())
            yield self
        finally:
            if not self.task.done():
                self.terminate()
            async with asyncio.timeout(10):
                await asyncio.wait([self.task])

    def said(self, event):
        return [log for log in self.logs if log["event"] == event]

    async def ready(self):
        """The status and the words of its readiness."""
        return await ask_health(self.said("started")[0]["metrics_port"], "/readyz")

    async def is_ready(self):
        return (await self.ready())[0] == 200

    async def prepared(self, nats):
        await apply(nats, self.process.topology(self.service))

    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)


async def pending(nats):
    durable = (await nats.durables("USERS"))[DURABLE]
    return durable.pending + durable.ack_pending


async def test_it_is_ready_once_it_has_what_it_needs_and_says_what_is_missing(nats, logs):
    main = Main(logs)
    async with main.running():
        await until(lambda: main.said("not ready"))
        status, why = await main.ready()
        assert status == 503
        assert "USERS" in why
        await main.prepared(nats)
        await until(main.is_ready)
    assert main.task.result() == 0


async def test_told_to_stop_it_finishes_what_is_in_hand_and_is_not_ready_meanwhile(nats, logs):
    main = Main(logs)
    await main.prepared(nats)
    async with main.running():
        await until(main.is_ready)
        await nats.publish([posting_of(a_request())])
        await main.begun.wait()
        main.terminate()
        await until(lambda: main.said("stopping"))
        status, why = await main.ready()
        assert (status, "stopping" in why) == (503, True)
        assert not main.task.done()
        main.go_on.set()
        assert await main.task == 0
    assert await pending(nats) == 0


async def test_what_takes_too_long_then_is_cut_off_and_comes_again(nats, logs, monkeypatch):
    monkeypatch.setattr(running, "DRAIN_WITHIN", 0.1)
    main = Main(logs)
    await main.prepared(nats)
    async with main.running():
        await nats.publish([posting_of(a_request())])
        await main.begun.wait()
        main.terminate()
        assert await main.task == 0
    assert main.said("cut off what took too long; the broker will deliver it again")
    assert await pending(nats) == 1


async def test_it_ends_while_it_still_waits_for_its_broker(logs, monkeypatch):
    monkeypatch.setenv("SEAWAY_NATS_URL", "nats://127.0.0.1:9")
    monkeypatch.setenv("SEAWAY_METRICS_PORT", "0")
    main = Main(logs)
    async with main.running():
        status, why = await main.ready()
        assert (status, '"broker": "away"' in why) == (503, True)
        main.terminate()
        assert await main.task == 0


async def test_it_ends_with_an_error_when_its_client_has_given_up(nats, logs):
    main = Main(logs)
    await main.prepared(nats)
    async with main.running():
        await until(main.is_ready)
        main.process.broker.connection.closed.set()
        assert await main.task == 1
    assert main.said("the broker's client has given up")
