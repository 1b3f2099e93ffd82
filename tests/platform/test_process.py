"""A service's main in the loop of a test: it prepares, tells what it needs, runs, and ends."""

import asyncio
import json
import os
import signal
from argparse import Namespace
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from seaway.dev.health import ask_health
from seaway.errors import BrokerUnavailable, TopologyError
from seaway.inbox import MemoryInbox
from seaway.jetstream import JetStream
from seaway.process import Process, preparing, running
from seaway.process.preparing import (
    TOPOLOGY,
    apply_topology,
    check_topology,
    plan_topology,
    prepare,
    show_topology,
)
from seaway.process.running import run
from seaway.service import Service
from seaway.testing import nats_server
from seaway.topology import apply
from structlog.testing import capture_logs
from waiting import until
from workers import DURABLE as WORKER
from workers import a_request, confirmed, posting_of

DURABLE = "greeter-create-user-confirmed"
SAFELY = Namespace(allow_unsafe=False, as_provisioner=False)
UNSAFELY = Namespace(allow_unsafe=True, as_provisioner=False)


def greeter(kind=CreateUserConfirmed):
    service = Service("greeter")

    @service.on(kind, start="now")
    async def greet(message):
        """Nobody calls it here."""

    return service


@pytest.fixture(autouse=True)
def logs():
    """What is logged meanwhile, and not printed: a command prints its answer."""
    with capture_logs() as logs:
        yield logs


@pytest.fixture
async def nats(monkeypatch):
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        monkeypatch.setenv("SEAWAY_NATS_URL", server.url)
        monkeypatch.setenv("SEAWAY_METRICS_PORT", "0")
        yield broker


async def done(action, options=SAFELY, service=None):
    """Carry it out in a process of its own, as far as anybody can tell."""
    return await action(Process("greeter"), service or greeter(), options)


# Instead of running it


async def test_what_is_planned_is_what_is_applied_and_then_nothing_differs(nats, capsys):
    assert await done(plan_topology) == 0
    planned = capsys.readouterr().out
    assert f"create durable {DURABLE} of stream USERS from now on" in planned
    assert await nats.streams() == {}  # to plan changes nothing
    assert await done(check_topology) == 1
    assert "USERS" in capsys.readouterr().out
    assert await done(apply_topology) == 0
    assert capsys.readouterr().out == planned
    assert list(await nats.durables("USERS")) == [DURABLE]
    assert await done(check_topology) == 0
    assert await done(plan_topology) == 0
    assert capsys.readouterr().out == ""


async def test_preparing_twice_is_preparing_once_and_deletes_nothing(nats, capsys):
    ready = []

    async def migrate():
        ready.append("migrated")

    for service in (greeter(), greeter(CreateUserRequested), greeter()):
        process = Process("greeter")
        process.before(migrate)
        assert await prepare(process, service, SAFELY) == 0
    assert ready == ["migrated"] * 3
    # In a rolling upgrade both releases run for a while.
    assert set(await nats.durables("USERS")) == {DURABLE, "greeter-create-user-requested"}
    assert capsys.readouterr().out.count("create stream USERS") == 1


async def test_what_loses_data_is_refused_until_it_is_allowed(nats, capsys):
    await done(prepare)
    await nats.publish([posting_of(CreateUserConfirmed(request_id=str(uuid4()), user_id="u"))])
    other = greeter(CreateUserRequested)
    assert await done(plan_topology, service=other) == 0
    assert "unsafe: " in capsys.readouterr().out
    with pytest.raises(TopologyError):
        await done(apply_topology, service=other)
    assert list(await nats.durables("USERS")) == [DURABLE]
    assert await done(apply_topology, UNSAFELY, other) == 0
    assert list(await nats.durables("USERS")) == ["greeter-create-user-requested"]


async def test_what_it_listens_to_is_told_without_a_broker(capsys):
    assert await done(show_topology) == 0
    [told] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["name"], told["stream"]) == (DURABLE, "USERS")


@pytest.mark.parametrize("action", ["plan", "check"])
async def test_a_broker_that_is_not_there_is_not_waited_for_long(monkeypatch, action):
    monkeypatch.setenv("SEAWAY_NATS_URL", "nats://127.0.0.1:9")
    monkeypatch.setattr(preparing, "ANSWER_WITHIN", 0.1)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9"):
        await done(TOPOLOGY[action][0])


# Running it


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
    durable = (await nats.durables("USERS"))[WORKER]
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
