"""What `prepare` makes anew begins where the service's own record says, and not later."""

import hashlib
from argparse import Namespace

import pytest
from acme.users.v1 import CreateUserConfirmed
from seaway.contract import address_of
from seaway.database import Database, SqlInbox
from seaway.envelope import Envelope
from seaway.errors import TopologyError
from seaway.inbox import Handled
from seaway.jetstream import JetStream
from seaway.process import Process
from seaway.process.preparing import apply_topology, plan_topology, prepare
from seaway.service import Service
from seaway.testing import nats_server
from user_creation.users import MIGRATIONS

DURABLE = "greeter-create-user-confirmed"
OPTIONS = Namespace(as_provisioner=False, allow_unsafe=False)


@pytest.fixture
async def broker(monkeypatch):
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        monkeypatch.setenv("SEAWAY_NATS_URL", server.url)
        yield broker


@pytest.fixture
def greeter(tmp_path):
    """Return a function that builds a service that listens from now on, as its main would."""

    def build(where="greeter.db"):
        process = Process("greeter")
        url = f"sqlite+aiosqlite:///{tmp_path}/{where}"
        database = process.during(Database(url, "greeter", MIGRATIONS))
        process.before(database.migrate)
        service = Service("greeter", SqlInbox(database))

        @service.on(CreateUserConfirmed, start="now")
        async def greet(message):
            """Nobody calls it here."""

        return process, service

    return build


async def said(broker, *keys):
    events = [Envelope.opening(CreateUserConfirmed(request_id=key), "test") for key in keys]
    await broker.publish([event.posting() for event in events])
    return [event.posting() for event in events]


async def pending(broker):
    return (await broker.durables("USERS"))[DURABLE].pending


async def test_what_waited_for_a_durable_that_is_gone_is_handled_after_all(
    broker, greeter, capsys
):
    await prepare(*greeter(), OPTIONS)
    before, waiting = ["0" * 35 + n for n in "12"], ["1" * 35 + n for n in "12"]
    first, *_ = await said(broker, *before)
    process, service = greeter()
    digest = hashlib.sha256(first.data).digest()
    async with process.contexts[0], service.inbox.transaction(DURABLE) as transaction:
        await transaction.record([Handled(first.headers["ce-id"], 1, digest)])
    await said(broker, *waiting)
    await broker.delete_durable("USERS", DURABLE)
    capsys.readouterr()
    await plan_topology(*greeter(), OPTIONS)
    assert "from #1, where its service's record begins, on" in capsys.readouterr().out
    await prepare(*greeter(), OPTIONS)
    assert await pending(broker) == 4
    await prepare(*greeter(), OPTIONS)
    assert await pending(broker) == 4


async def test_a_service_without_a_record_begins_now(broker, greeter):
    process, _ = greeter()
    await prepare(process, Service("other"), OPTIONS)  # the stream is there already
    await said(broker, "0" * 36)
    assert address_of(CreateUserConfirmed).stream.name in await broker.streams()
    await prepare(*greeter(), OPTIONS)
    assert await pending(broker) == 0


async def test_while_the_record_cannot_be_read_nothing_is_made(broker, greeter):
    await prepare(greeter()[0], Service("other"), OPTIONS)
    await said(broker, "0" * 36)
    with pytest.raises(TopologyError, match=f"where {DURABLE} has to begin is not known: "):
        await apply_topology(*greeter("nowhere/greeter.db"), OPTIONS)
    assert DURABLE not in await broker.durables("USERS")
