"""What a service's main does instead of running it: it prepares, and tells what it needs."""

import json
from argparse import Namespace
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from mains import told_of_a_broker
from seaway.errors import BrokerUnavailable, TopologyError
from seaway.process import Process, preparing
from seaway.process.preparing import (
    TOPOLOGY,
    apply_topology,
    check_topology,
    plan_topology,
    prepare,
    show_topology,
)
from seaway.service import Service
from structlog.testing import capture_logs
from workers import posting_of

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
    async with told_of_a_broker(monkeypatch) as broker:
        yield broker


async def done(action, options=SAFELY, service=None):
    """Carry it out in a process of its own, as far as anybody can tell."""
    return await action(Process("greeter"), service or greeter(), options)


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
