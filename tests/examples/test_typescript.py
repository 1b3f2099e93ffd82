"""Services in TypeScript: they keep what ours keep, and nobody notices who takes our place."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from development import UP, Development
from node_programs import ROOT, install, missing
from seaway.conformance import NAMES, Candidate, tried
from seaway.dev.health import ask_health
from waiting import until
from webhook import webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = 120
"""Seconds that anything may take; a machine may be busy."""
OTHERS = re.compile(r"\[services\.(data-warehouse|monitor)\]\n(.+\n)*")
"""Of ours, those that would only make it slower."""
LISTENER = """
[services.new-user-webhook]
command = ["node", {program}]
metrics_port = 9108
environment = {{ SEAWAY_WEBHOOK_URL = "http://{place}/" }}
[[services.new-user-webhook.subscriptions]]
message = "acme.users.v1.CreateUserConfirmed"
start = "now"
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    if absent := missing():
        pytest.skip(f"there is no {absent} here; on Debian: apt-get install nodejs npm")
    return install("examples", tmp_path_factory.mktemp("typescript"))


@pytest.fixture(scope="module")
def listener(examples):
    return str(examples / "listeners/typescript/dist/main.cjs")


@pytest.fixture(scope="module")
def deciding(examples):
    return str(examples / "services/user-creation-typescript/dist/main.cjs")


@pytest.fixture(scope="module")
def hook():
    with webhook() as server:
        yield server


@pytest.fixture(scope="module")
def dev(listener, hook, tmp_path_factory):
    """`seaway dev` with most of ours, and the listener."""
    folder = tmp_path_factory.mktemp("system")
    ours = OTHERS.sub("", (ROOT / "seaway.toml").read_text())
    theirs = LISTENER.format(program=json.dumps(listener), place=hook.place)
    (folder / "seaway.toml").write_text(ours + theirs)
    with closing(Development(folder)) as development:
        development.says(UP, within=PATIENCE)
        yield development


@contextmanager
def in_our_place(dev, program):
    """User creation in TypeScript, at the broker and the port of ours."""
    settings = {
        "SEAWAY_NATS_URL": f"nats://127.0.0.1:{dev.port(4222)}",
        "SEAWAY_METRICS_PORT": str(dev.port(9102)),
    }
    with subprocess.Popen(["node", program], env=os.environ | settings) as running:
        try:
            asyncio.run(until(lambda: is_ready(dev.port(9102)), PATIENCE, every=0.05))
            yield running
        finally:
            running.kill()


async def is_ready(port):
    return (await ask_health(port, "/readyz"))[0] == 200


def sign_up(dev, name, *options):
    """Sign somebody up; return the states that were told, and the exit code."""
    words = ("--email", f"{name.lower()}@example.org", "--name", name, "--reveal-taken")
    done = dev.seaway("sign-up", *words, *options, within=PATIENCE)
    return [line.split()[0] for line in done.stdout.splitlines()], done.returncode


def told(dev, request_id):
    """What is said of a conversation once everybody has acted."""
    give_up = time.monotonic() + PATIENCE
    while "everybody who listens has acted" not in (
        said := dev.seaway("trace", request_id, within=PATIENCE).stdout
    ):
        assert time.monotonic() < give_up, said
    return said


def test_the_types_are_right(examples):
    checked = subprocess.run(["npx", "tsc"], cwd=examples, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_lock_names_no_registry():
    lock = json.loads((ROOT / "examples/package-lock.json").read_text())
    resolved = [package.get("resolved", "") for package in lock["packages"].values()]
    assert [place for place in resolved if "://" in place] == []


def test_both_keep_all_that_a_service_promises(deciding, listener, hook):
    candidates = [
        Candidate(
            ("node", deciding),
            "user-creation",
            "acme.users.v1.CreateUserRequested",
            fields={"email": "{key}@example.org"},
        ),
        Candidate(
            ("node", listener),
            "new-user-webhook",
            "acme.users.v1.CreateUserConfirmed",
            settings={
                "SEAWAY_WEBHOOK_URL": "http://{dependency}/",
                "SEAWAY_HANDLED_FILE": "{folder}/handled",
            },
            dependency=hook.place,
        ),
    ]

    async def found(candidate):
        said = []
        return [verdict async for verdict in tried(candidate, PATIENCE, said.append)], said

    async def both():
        return await asyncio.gather(*map(found, candidates))

    hook.told.clear()
    for verdicts, log in asyncio.run(both()):
        assert tuple(verdict.promise for verdict in verdicts) == NAMES
        assert [verdict for verdict in verdicts if verdict.found != "passed"] == [], log
    keys = [key for key, _ in hook.told]
    assert len(set(keys)) == len(keys)  # everybody was told of once


def test_nobody_notices_who_decides(dev, deciding, hook):
    hook.told.clear()
    assert sign_up(dev, "Ada") == (["ACCEPTED", "CONFIRMED"], 0)
    assert dev.seaway("stop", "user-creation", within=PATIENCE).returncode == 0
    bob, cleo = str(uuid4()), str(uuid4())
    with in_our_place(dev, deciding) as theirs:
        taken = sign_up(dev, "ADA")  # whom ours has confirmed
        assert taken == (["ACCEPTED", "REJECTED"], 4)
        states = ["ACCEPTED", "CONFIRMED", "EMAILED"]
        assert sign_up(dev, "Bob", "--request-id", bob, "--until", "emailed") == (states, 0)
        theirs.kill()
        theirs.wait(PATIENCE)
    waiting = sign_up(dev, "Cleo", "--request-id", cleo, "--timeout", "1")
    assert waiting == (["ACCEPTED"], 3)
    with in_our_place(dev, deciding) as theirs:  # it knows from the stream what it has decided
        assert sign_up(dev, "Cleo", "--request-id", cleo)[0][-1] == "CONFIRMED"
        assert sign_up(dev, "Bob") == (["ACCEPTED", "REJECTED"], 4)
        assert "CreateUserConfirmed" in told(dev, bob)
        audited = dev.seaway("audit", "--settled-within", "60", within=PATIENCE)
        counts = "accepted 5  outcomes 5  dead letters 0  pending 0  unaccounted 0\n"
        assert (audited.returncode, audited.stdout) == (0, counts), audited.stderr
        theirs.send_signal(signal.SIGTERM)
        assert theirs.wait(PATIENCE) == 0
    # The listener, in TypeScript too, has told of each new user, and of each once.
    assert sorted(body["displayName"] for _, body in hook.told) == ["Ada", "Bob", "Cleo"]
    assert dev.seaway("topology", "check", within=PATIENCE).stdout == "as declared\n"
