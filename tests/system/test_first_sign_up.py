"""From nothing to a user: `seaway dev` with the real services, and what one types then."""

import json
import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ADA = ("--email", "ada@example.org", "--name", "Ada Lovelace")


@pytest.fixture(autouse=True)
def our_services(tmp_path):
    shutil.copy(ROOT / "seaway.toml", tmp_path)


def states(signed_up):
    return [line.split()[0] for line in signed_up.stdout.splitlines()]


def test_a_sign_up_goes_all_the_way(develop, capsys):
    dev = develop().up()
    signed_up = dev.seaway("sign-up", *ADA)
    took = time.monotonic() - dev.began
    with capsys.disabled():
        print(f"\nmake dev to first CONFIRMED: {took:.1f} s")
    assert signed_up.returncode == 0, signed_up.stderr
    assert states(signed_up) == ["ACCEPTED", "CONFIRMED"]
    with closing(sqlite3.connect(dev.folder / ".seaway/user-creation.db")) as database:
        assert database.execute("select email from users").fetchall() == [("ada@example.org",)]


def test_the_conversation_can_be_traced_and_holds_no_personal_data(develop):
    dev = develop().up()
    request_id = str(uuid4())
    assert dev.seaway("sign-up", *ADA, "--request-id", request_id).returncode == 0
    until = time.monotonic() + 30  # those who batch wait for a batch to fill
    while (
        "everybody who listens has acted" not in (told := dev.seaway("trace", request_id)).stdout
    ):
        assert time.monotonic() < until, told.stdout
    assert re.findall(r"#\d+  (\w+)", told.stdout)[:2] == [
        "CreateUserRequested",
        "CreateUserConfirmed",
    ]
    logged = "\n".join(line for line in dev.lines if " | " in line)
    said = (told.stdout + logged).lower()  # in which an id may well hold "ada"
    assert "ada@" not in said
    assert "lovelace" not in said


def test_a_service_that_was_away_handles_what_it_has_missed(develop):
    dev = develop().up()
    request_id = str(uuid4())
    assert dev.seaway("stop", "user-creation").returncode == 0
    waiting = dev.seaway("sign-up", *ADA, "--request-id", request_id, "--timeout", "1")
    assert waiting.returncode == 3
    assert states(waiting) == ["ACCEPTED"]
    assert "user-creation-create-user-requested: CreateUserRequested #1 waits" in (
        dev.seaway("trace", request_id).stdout
    )
    assert dev.seaway("start", "user-creation").returncode == 0
    assert states(dev.seaway("sign-up", *ADA, "--request-id", request_id))[-1] == "CONFIRMED"


def test_topology_is_as_the_services_declare_it(develop):
    dev = develop().up()
    assert dev.seaway("topology", "check").stdout == "as declared\n"


def test_users_are_still_there_the_next_day(develop):
    dev = develop().up()
    request_id = str(uuid4())
    assert dev.seaway("sign-up", *ADA, "--request-id", request_id).returncode == 0
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    dev = develop().up()
    again = dev.seaway("sign-up", *ADA, "--request-id", request_id, "--json")
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()][
        -1
    ] == "STATE_CONFIRMED"
    taken = dev.seaway("sign-up", *ADA, "--reveal-taken")
    assert taken.returncode == 4
    assert states(taken) == ["ACCEPTED", "REJECTED"]
