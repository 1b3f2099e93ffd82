"""A client in JavaScript signs people up at a real gateway, and outlives it."""

import asyncio
import json
import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from uuid import uuid4

import psutil
import pytest
from development import UP, Development
from gateways import USERS, CancelsOnce, a_gateway, confirmed, say
from node_programs import ROOT, install, missing
from seaway.testing import MemoryBroker
from seaway.topology import apply, declared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = "examples/clients/node"
PATIENCE = 120
"""Seconds that anything may take; a machine may be busy."""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if absent := missing():
        pytest.skip(f"there is no {absent} here; on Debian: apt-get install nodejs npm")
    return install(EXAMPLE, tmp_path_factory.mktemp("examples")) / "sign-up.js"


@pytest.fixture(scope="module")
def dev(program, tmp_path_factory):
    """`seaway dev` with those that a sign-up needs: the gateway, and who decides."""
    folder = tmp_path_factory.mktemp("system")
    wanted, _, _ = (ROOT / "seaway.toml").read_text().partition("[services.welcome-email]")
    (folder / "seaway.toml").write_text(wanted)
    development = Development(folder)
    try:
        development.says(UP, within=PATIENCE)
        yield development
    finally:
        development.close()


@pytest.fixture
def client(program, dev):
    """Return a function that starts the client; what still runs is ended with the test."""

    @contextmanager
    def start(*words, timeout=PATIENCE):
        running = subprocess.Popen(
            ["node", program, *words],
            env=settings(dev.port(50051), timeout),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with running:
            try:
                yield running
            finally:
                running.kill()

    return start


def settings(port, timeout=PATIENCE):
    target = f"127.0.0.1:{port}"
    return os.environ | {"SEAWAY_TARGET": target, "SEAWAY_TIMEOUT": str(timeout)}


def switched(dev, what):
    told = dev.seaway(what, "user-creation", within=PATIENCE)
    assert told.returncode == 0, told.stderr + "\n".join(dev.lines[-20:])


@pytest.fixture
def undecided(dev):
    """Nobody decides about sign-ups, until the test starts user-creation."""
    switched(dev, "stop")
    yield
    switched(dev, "start")


def an_address():
    return f"{uuid4()}@example.org"


def updates(lines):
    return [json.loads(line) for line in lines.splitlines()]


def ended(client):
    """What it printed up to its end: updates, complaints, exit code."""
    said, complained = client.communicate(timeout=2 * PATIENCE)
    return [update["state"] for update in updates(said)], complained, client.returncode


def kill_gateway(dev):
    """kill -9. `seaway dev` starts it again."""
    [gateway] = [p for p in dev.children() if {"-m", "gateway"} <= set(p.cmdline())]
    gateway.kill()
    psutil.wait_procs([gateway], timeout=PATIENCE)


def users(dev, email):
    with closing(sqlite3.connect(dev.folder / ".seaway/user-creation.db")) as database:
        rows = database.execute("select count(*) from users where email = ?", [email])
        return rows.fetchone()[0]


def test_it_fits_on_a_page(program):
    assert len(program.read_text().splitlines()) <= 80


def test_it_signs_somebody_up(dev, client):
    email = an_address()
    with client(email, "Ada") as running:
        assert ended(running) == (["STATE_ACCEPTED", "STATE_CONFIRMED"], "", 0)
    assert users(dev, email) == 1


def test_it_resumes_when_its_gateway_is_killed(dev, client, undecided):
    email = an_address()
    with client(email, "Ada") as running:
        [accepted] = updates(running.stdout.readline())
        assert accepted["state"] == "STATE_ACCEPTED"
        kill_gateway(dev)
        assert running.stderr.readline() == "asking again: UNAVAILABLE\n"
        switched(dev, "start")
        states, _, code = ended(running)
    assert (states, code) == (["STATE_CONFIRMED"], 0)  # and nothing that it has said before
    assert users(dev, email) == 1


def test_another_process_gets_the_answer_by_the_request_id(dev, client, undecided):
    request = (an_address(), "Ada", str(uuid4()))
    with client(*request, timeout=3) as running:
        _, complained, code = ended(running)
    assert code == 3
    assert complained.endswith(f"not known yet; ask again with {request[2]}\n")
    switched(dev, "start")
    with client(*request) as running:
        assert ended(running) == (["STATE_ACCEPTED", "STATE_CONFIRMED"], "", 0)
    assert users(dev, request[0]) == 1


async def test_a_call_that_somebody_else_cancels_is_asked_again(program):
    broker, request_id = MemoryBroker(), str(uuid4())
    await apply(broker, declared([USERS], []))
    async with a_gateway(broker, kind=CancelsOnce) as gateway:
        running = await asyncio.create_subprocess_exec(
            *("node", program, an_address(), "Ada", request_id),
            env=settings(gateway.port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert json.loads(await running.stdout.readline())["state"] == "STATE_ACCEPTED"
        await say(broker, request_id, confirmed(request_id))
        said, complained = await running.communicate()
    assert [update["state"] for update in updates(said.decode())] == ["STATE_CONFIRMED"]
    assert (complained.decode(), running.returncode) == ("asking again: CANCELLED\n", 0)


def test_what_is_refused_is_not_asked_again(client):
    with client("no address", "Ada") as running:
        states, complained, code = ended(running)
    assert (states, code) == ([], 1)
    assert "asking again" not in complained
    assert complained.strip()


def test_what_is_missing_is_said(client):
    with client(an_address()) as running:
        assert ended(running) == ([], "usage: node sign-up.js EMAIL NAME [REQUEST_ID]\n", 2)
