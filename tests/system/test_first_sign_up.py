"""From nothing to a user: `seaway dev` with the real services, and what one does then."""

import asyncio
import json
import re
import shlex
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import pytest
from monitors import Watching, equals

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
[CURL] = re.findall(r"^    (curl .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
NUMBERS = count()
DECIDE = ("gateway", "user-creation")
"""The services without which nobody is signed up."""


def somebody():
    """Words that sign up somebody new."""
    return ("--email", f"ada.{next(NUMBERS)}@example.org", "--name", "Ada Lovelace")


def tables(toml, name):
    """A table of a TOML file, and those in it, as they are written there."""
    begins = rf"^\[{re.escape(name)}[].]"
    return [part for part in re.split(r"(?m)^(?=\[)", toml) if re.match(begins, part)]


def states(signed_up):
    return [line.split()[0] for line in signed_up.stdout.splitlines()]


def test_a_sign_up_goes_all_the_way(system):
    words = somebody()
    signed_up = system.seaway("sign-up", *words)
    assert signed_up.returncode == 0, signed_up.stderr
    assert states(signed_up) == ["ACCEPTED", "CONFIRMED"]
    with closing(sqlite3.connect(system.folder / ".seaway/user-creation.db")) as database:
        [*_, (email,)] = database.execute("select email from users order by rowid").fetchall()
    assert email in words


def test_the_conversation_can_be_traced_and_holds_no_personal_data(system):
    request_id = str(uuid4())
    assert system.seaway("sign-up", *somebody(), "--request-id", request_id).returncode == 0
    until = time.monotonic() + 30  # those who batch wait for a batch to fill
    told = ""
    while "everybody who listens has acted" not in told:
        assert time.monotonic() < until, told
        told = system.seaway("trace", request_id).stdout
    first, second, *_ = re.findall(r"#\d+  (\w+)", told)
    assert (first, second) == ("CreateUserRequested", "CreateUserConfirmed")
    logged = "\n".join(line for line in system.lines if " | " in line)
    said = (told + logged).lower()
    assert "@example" not in said
    assert "lovelace" not in said


def test_a_service_that_was_away_handles_what_it_has_missed(system):
    words = (*somebody(), "--request-id", request_id := str(uuid4()))
    assert system.seaway("stop", "user-creation").returncode == 0
    waiting = system.seaway("sign-up", *words, "--timeout", "1")
    assert waiting.returncode == 3
    assert states(waiting) == ["ACCEPTED"]
    assert re.search(
        r"user-creation-create-user-requested: CreateUserRequested #\d+ waits",
        system.seaway("trace", request_id).stdout,
    )
    assert system.seaway("start", "user-creation").returncode == 0
    assert states(system.seaway("sign-up", *words))[-1] == "CONFIRMED"


def test_topology_is_as_the_services_declare_it(system):
    assert system.seaway("topology", "check").stdout == "as declared\n"


def test_the_page_is_where_dev_says_and_curl_does_what_readme_says(system):
    [address] = re.findall(r"http://\S+/", system.says("Now open"))
    assert address == f"http://127.0.0.1:{system.port(8080)}/"
    with urlopen(address, timeout=30) as page:
        assert "<title>Sign up" in page.read().decode()
    [request_id] = re.findall(r"[0-9a-f-]{36}", CURL)
    assert system.seaway("sign-up", *somebody(), "--request-id", request_id).returncode == 0
    words = shlex.split(CURL.replace("8080", str(system.port(8080))))
    answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    said = json.loads(answer.stdout)
    assert said["requestId"] == request_id
    assert said["state"] in {"STATE_CONFIRMED", "STATE_EMAILED"}


async def test_the_monitor_sees_that_it_was_handled(system, tmp_path):
    monitor = Watching("seaway.monitor", {}, tmp_path, system.port(9106))
    done = await asyncio.to_thread(system.seaway, "sign-up", *somebody())
    assert done.returncode == 0, done.stderr
    await monitor.exports(lambda v: v >= 5, "seaway_stream_messages", stream="USERS")
    for durable in ("user-creation-create-user-requested", "crm-create-user-confirmed"):
        await monitor.exports(equals(0), "seaway_pending_messages", durable=durable)
        await monitor.exports(equals(1), "seaway_durable_pulled", durable=durable)
        lost = {"durable": durable, "kind": "lost delivery"}
        await monitor.exports(equals(0), "seaway_unaccounted_messages", **lost)
    await monitor.exports(lambda v: v >= 5, "seaway_audit_messages")


def test_everything_is_accounted_for_with_no_monitor_either(system):
    assert system.seaway("stop", "monitor").returncode == 0
    audit = system.seaway("audit", "--settled-within", "60")
    assert (audit.returncode, audit.stderr) == (0, "")
    assert system.seaway("start", "monitor").returncode == 0


def test_users_are_still_there_the_next_day(develop, tmp_path):
    with_all = (ROOT / "seaway.toml").read_text()
    services = [part for name in DECIDE for part in tables(with_all, f"services.{name}")]
    (tmp_path / "seaway.toml").write_text("".join(services))
    dev, words = develop().up(), somebody()
    request_id = str(uuid4())
    assert dev.seaway("sign-up", *words, "--request-id", request_id).returncode == 0
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    dev = develop().up()
    again = dev.seaway("sign-up", *words, "--request-id", request_id, "--json")
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()][
        -1
    ] == "STATE_CONFIRMED"
    taken = dev.seaway("sign-up", *words, "--reveal-taken")
    assert taken.returncode == 4
    assert states(taken) == ["ACCEPTED", "REJECTED"]
