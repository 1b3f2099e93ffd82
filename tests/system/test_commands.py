"""`seaway tail`, `trace` and `topology`: one listener, its streams, and a broker."""

import asyncio
import json
import signal
import subprocess
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from development import SEAWAY, environment, seaway
from seaway import Service
from seaway.broker import Posting
from seaway.dead_letters import letters, redrive, set_aside
from seaway.envelope import Envelope
from seaway.inbox import MemoryInbox
from seaway.jetstream import JetStream
from seaway.testing import nats_server

pytestmark = pytest.mark.slow

LISTENER = """
[services.listener]
command = ["python", "standin.py", "listener"]
metrics_port = 9101
[[services.listener.subscriptions]]
message = "acme.users.v1.CreateUserConfirmed"
"""
DURABLE = "listener-create-user-confirmed"


class Place:
    """A folder with a system in it, whose one listener never handles anything; and its broker."""

    def __init__(self, folder, url):
        self.folder = folder
        self.settings = {"SEAWAY_NATS_URL": url}

    def seaway(self, *words):
        return seaway(*words, folder=self.folder, **self.settings)


@pytest.fixture
async def place(tmp_path):
    (tmp_path / "seaway.toml").write_text(LISTENER)
    async with nats_server() as server:
        place = Place(tmp_path, server.url)
        applied = await asyncio.to_thread(place.seaway, "topology", "apply")
        assert applied.returncode == 0, applied.stderr
        yield place


@pytest.fixture
async def broker(place):
    async with JetStream(place.settings["SEAWAY_NATS_URL"], "test") as connection:
        await connection.connected()
        yield connection


def requested():
    body = CreateUserRequested(
        request_id=str(uuid4()), email="ada@example.org", display_name="Ada Lovelace"
    )
    return Envelope.opening(body, "gateway")


def confirmed(request):
    body = CreateUserConfirmed(
        request_id=request.body.request_id, user_id=str(uuid4()), email=request.body.email
    )
    return request.reply(body, "user-creation-create-user-requested")


class Tail:
    """A running `seaway tail`."""

    def __init__(self, place, *options):
        self.process = subprocess.Popen(
            [SEAWAY, "tail", *options],
            cwd=place.folder,
            env=environment() | place.settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        assert self.process.stderr.readline().startswith("listening on ")
        return self

    def line(self):
        return self.process.stdout.readline()

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(5) == 0
        self.process.stdout.close()
        self.process.stderr.close()


async def test_tail_shows_messages_as_they_are_stored_without_personal_data(place, broker):
    request = requested()
    with Tail(place) as tail:
        await broker.publish([request.posting()])
        line = tail.line()
    assert f"users.v1.create-requested.{request.id}" in line
    assert "CreateUserRequested by gateway" in line
    assert "email='***'" in line
    assert "ada" not in line.lower().replace(request.id, "")


async def test_tail_shows_personal_data_when_asked_to(place, broker):
    with Tail(place, "--show-personal", "--json") as tail:
        await broker.publish([requested().posting()])
        said = json.loads(tail.line())
    assert said["body"]["email"] == "ada@example.org"
    assert said["sequence"] == 1


async def test_tail_shows_only_the_subject_that_is_asked_for(place, broker):
    request = requested()
    with Tail(place, "--subject", "users.v1.create-confirmed.*") as tail:
        await broker.publish([request.posting()])
        await broker.publish([confirmed(request).posting()])
        assert "CreateUserConfirmed" in tail.line()


async def test_tail_shows_what_it_cannot_decode_as_such(place, broker):
    key = str(uuid4())
    subject = f"users.v1.create-requested.{key}"
    headers = {"ce-type": "acme.users.v1.CreateUserRequested"}
    with Tail(place, "--show-personal") as tail:
        await broker.publish([Posting("USERS", subject, b"\xffada", headers)])
        line = tail.line()
    assert "UNDECODABLE: 4 bytes that say to be acme.users.v1.CreateUserRequested" in line
    assert "ada" not in line.replace(key, "")


async def test_trace_tells_who_said_what_because_of_what_and_who_has_not_acted(place, broker):
    request = requested()
    outcome = confirmed(request)
    await broker.publish([request.posting()])
    await broker.publish([outcome.posting()])
    told = place.seaway("trace", request.id)
    assert told.returncode == 0
    first, second, *rest = told.stdout.splitlines()
    assert "#1  CreateUserRequested" in first
    assert "by gateway, opening the conversation" in first
    assert f"#2  CreateUserConfirmed  users.v1.create-confirmed.{request.id}" in second
    assert "by user-creation-create-user-requested, caused by CreateUserRequested, af" in second
    assert rest == ["not acted yet:", f"  {DURABLE}: CreateUserConfirmed #2 waits"]
    assert "ada" not in told.stdout.lower().replace(request.id, "")


async def test_trace_says_so_when_everybody_has_acted(place, broker):
    request = requested()
    await broker.publish([request.posting()])
    await broker.publish([confirmed(request).posting()])
    async with broker.pull("USERS", DURABLE) as pull:
        [delivery] = await pull.fetch(1, wait=2.0)
        held = place.seaway("trace", request.id).stdout.splitlines()[-1]
        assert (
            held
            == f"  {DURABLE}: CreateUserConfirmed #2 has it in hand, or will be given it again"
        )
        await delivery.ack()
        await broker.durables("USERS")  # on the same connection: by then the ack is in
    assert (
        place.seaway("trace", request.id).stdout.splitlines()[-1]
        == "everybody who listens has acted"
    )


async def traced(place, request, *options):
    """What `seaway trace` says, while our own connection is kept alive."""
    return (
        await asyncio.to_thread(place.seaway, "trace", request.id, *options)
    ).stdout.splitlines()


async def test_trace_names_who_has_given_up_and_who_was_told_to_try_again(place, broker):
    request = requested()
    await broker.publish([request.posting()])
    await broker.publish([confirmed(request).posting()])
    service = Service("listener", MemoryInbox())
    service.on(CreateUserConfirmed)(lambda message: None)
    [subscription] = service.subscriptions
    async with broker.pull("USERS", DURABLE) as pull:
        [delivery] = await pull.fetch(1, wait=2.0)
        await set_aside(broker, delivery, subscription, "NOBODY_KNOWS", "1.0")
        await delivery.term("NOBODY_KNOWS")
        await broker.durables("USERS")
    told = await traced(place, request)
    where = f"{DURABLE}: CreateUserConfirmed #2"
    assert told[2:] == [
        "not acted yet:",
        f"  {where} was set aside, NOBODY_KNOWS: dead letter 1",
    ]
    line = (await traced(place, request, "--json"))[-1]
    assert json.loads(line) == {
        "not_acted": DURABLE,
        "sequence": 2,
        "delivered": True,
        "reason": "NOBODY_KNOWS",
        "dead_letter": 1,
    }

    async for letter in letters(broker):
        await redrive(broker, letter)
    first, second, third, *rest = await traced(place, request)
    assert f"users.v1.redrive.{DURABLE}.1" in third
    assert third.endswith("sent back by a person")
    assert rest == ["not acted yet:", f"  {DURABLE}: CreateUserConfirmed #3 waits"]
    assert "sent back" not in first + second


async def test_trace_as_json_has_an_object_for_each_line(place, broker):
    request = requested()
    await broker.publish([request.posting()])
    await broker.publish([confirmed(request).posting()])
    told = place.seaway("trace", request.id, "--json").stdout.splitlines()
    said, reply, waiting = map(json.loads, told)
    assert said["type"] == "acme.users.v1.CreateUserRequested"
    assert said["body"]["display_name"] == "***"
    assert reply["causation_id"] == said["id"]
    assert waiting == {"not_acted": DURABLE, "sequence": 2, "delivered": False}


async def test_trace_of_an_unknown_id_says_so(place):
    unknown = place.seaway("trace", str(uuid4()))
    assert unknown.returncode == 3
    assert "nothing is stored under" in unknown.stderr


async def test_topology_is_as_declared_once_everything_runs(place):
    checked = place.seaway("topology", "check")
    assert (checked.returncode, checked.stdout) == (0, "as declared\n")
    assert place.seaway("topology", "plan").stdout == "nothing to do\n"


async def test_topology_names_a_difference_and_mends_it(place, broker):
    await broker.delete_durable("USERS", DURABLE)
    missing = f"durable {DURABLE} of stream USERS does not exist\n"
    checked = place.seaway("topology", "check")
    assert (checked.returncode, checked.stdout) == (1, missing)
    assert f"create durable {DURABLE}" in place.seaway("topology", "plan").stdout
    assert place.seaway("topology", "check").returncode == 1  # a plan changes nothing
    assert f"create durable {DURABLE}" in place.seaway("topology", "apply").stdout
    assert place.seaway("topology", "check").returncode == 0


async def test_topology_refuses_what_is_unsafe_until_it_is_allowed(place, broker):
    await broker.publish([confirmed(requested()).posting()])
    toml = LISTENER.replace("CreateUserConfirmed", "CreateUserRejected")
    (place.folder / "seaway.toml").write_text(toml)
    refused = place.seaway("topology", "apply")
    assert refused.returncode == 1
    assert f"delete durable {DURABLE}" in refused.stderr
    assert "1 pending messages would never be handled" in refused.stderr
    assert DURABLE in await broker.durables("USERS")
    assert "unsafe: " in place.seaway("topology", "plan").stdout
    assert place.seaway("topology", "apply", "--allow-unsafe").returncode == 0
    assert DURABLE not in await broker.durables("USERS")


async def test_topology_asks_the_services_what_they_listen_to(place):
    toml = LISTENER + '[services.broken]\ncommand = ["false"]\nmetrics_port = 9102'
    (place.folder / "seaway.toml").write_text(toml)
    refused = place.seaway("topology", "check")
    assert refused.returncode == 1
    assert "broken: `false topology show` ended with 1" in refused.stderr
    assert place.seaway("topology", "check", "listener").returncode == 0
    assert place.seaway("topology", "check", "nobody").returncode == 2
