"""Who may do what at the broker: every identity and every subject, on a real server."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
import time
from pathlib import Path

import nkeys
import pytest
from helm import script
from seaway.commands.programs import identities
from seaway.testing import nats_server
from seaway.topology.keys import keep_keys, key_file
from seaway.topology.permissions import authorization
from seaway.topology.rules import covers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SERVICES = {
    "gateway",
    "user-creation",
    "welcome-email",
    "mail-catcher",
    "data-warehouse",
    "crm",
    "fake-crm",
    "monitor",
}
PEOPLE = {"provisioner", "operator"}
ALL = SERVICES | PEOPLE
READERS = {"operator", "monitor", "data-warehouse"}
DURABLES = {
    "user-creation-create-user-requested": "user-creation",
    "welcome-email-create-user-confirmed": "welcome-email",
    "welcome-email-create-user-rejected": "welcome-email",
    "data-warehouse-users": "data-warehouse",
    "crm-create-user-confirmed": "crm",
}
GET = "$JS.API.DIRECT.GET"
MAY_PUBLISH = {
    "users.v1.create-requested.k": {"gateway"},
    "users.v1.create-confirmed.k": {"user-creation"},
    "users.v1.create-rejected.k": {"user-creation"},
    "users.v1.sign-up-email-handled.k": {"welcome-email"},
    "users.v1.added-to-warehouse.k": {"data-warehouse"},
    "users.v1.added-to-crm.k": {"crm"},
    "users.v1.redrive.some-durable.1": {"operator"},
    "users.v1.undeclared.k": set(),
    "live.users.v1.create-confirmed.k": set(),
    "dead.another-durable.k": set(),
    "dead.another-durable.k.discarded": {"operator"},
    "$JS.API.INFO": set(),
    "$JS.API.STREAM.LIST": ALL,
    "$JS.API.STREAM.INFO.USERS": READERS,
    "$JS.API.STREAM.INFO.DEAD": {"operator", "monitor"},
    "$JS.API.STREAM.DELETE.USERS": set(),
    "$JS.API.STREAM.PURGE.USERS": set(),
    "$JS.API.STREAM.MSG.GET.USERS": READERS,
    "$JS.API.STREAM.MSG.GET.DEAD": {"operator", "monitor"},
    "$JS.API.STREAM.MSG.DELETE.USERS": set(),
    "$JS.API.STREAM.MSG.DELETE.DEAD": {"operator"},
    "$JS.API.CONSUMER.RESET.USERS.crm-create-user-confirmed": {"operator"},
    "$JS.API.CONSUMER.CREATE.USERS": set(),
    "$SYS.REQ.SERVER.PING": set(),
    "_INBOX_gateway.x.y": set(),
    f"{GET}.USERS": READERS,
    f"{GET}.DEAD": {"operator", "monitor"},
    f"{GET}.DEAD.dead.another-durable.k": {"operator", "monitor"},
    f"{GET}.USERS.users.v1.create-requested.k": READERS | {"gateway"},
    f"{GET}.USERS.users.v1.create-confirmed.k": READERS | {"gateway", "user-creation"},
    f"{GET}.USERS.users.v1.create-rejected.k": READERS | {"gateway", "user-creation"},
    f"{GET}.USERS.users.v1.sign-up-email-handled.k": READERS | {"gateway", "welcome-email"},
    f"{GET}.USERS.users.v1.added-to-warehouse.k": READERS,
    f"{GET}.USERS.users.v1.added-to-crm.k": READERS | {"crm"},
}
for stream in ("USERS", "DEAD"):
    MAY_PUBLISH[f"$JS.API.CONSUMER.LIST.{stream}"] = ALL
    for call in ("STREAM.CREATE.{}", "STREAM.UPDATE.{}", "CONSUMER.DELETE.{}.d"):
        MAY_PUBLISH[f"$JS.API.{call.format(stream)}"] = {"provisioner"}
    MAY_PUBLISH[f"$JS.API.CONSUMER.CREATE.{stream}.d"] = {"provisioner"}
for durable, owner in DURABLES.items():
    MAY_PUBLISH[f"$JS.API.CONSUMER.MSG.NEXT.USERS.{durable}"] = {owner}
    MAY_PUBLISH[f"$JS.ACK.USERS.{durable}.1.2.3.4.5"] = {owner}
    MAY_PUBLISH[f"dead.{durable}.k"] = {owner}
    MAY_PUBLISH[f"{GET}.DEAD.dead.{durable}.k"] = {owner, "operator", "monitor"}
MAY_SUBSCRIBE = {
    "live.users.v1.create-requested.*": {"operator"},
    "live.users.v1.create-confirmed.*": {"operator", "gateway"},
    "live.users.v1.create-rejected.*": {"operator", "gateway"},
    "live.users.v1.sign-up-email-handled.*": {"operator", "gateway"},
    "live.users.v1.>": {"operator"},
    "live.dead.>": {"operator"},
    "users.v1.>": set(),
    "dead.>": set(),
    ">": set(),
    "_INBOX.>": set(),
    "$SYS.>": set(),
    "$JS.>": set(),
    "_INBOX_seaway.x": PEOPLE,
} | {f"_INBOX_{name}.x": {name} for name in SERVICES}


@pytest.fixture(scope="module")
def known():
    """Every identity of our seaway.toml; each service is asked what it listens to."""
    with contextlib.chdir(ROOT):
        return asyncio.run(identities())


async def answers_to(port, key, seed, lines=()):
    """Say to be `key`, signed with a seed, and these lines; return what the broker says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    info = json.loads((await reader.readline()).removeprefix(b"INFO "))
    pair = nkeys.from_seed(bytearray(seed.read_bytes()))
    signature = base64.b64encode(pair.sign(info["nonce"].encode())).decode()
    who = {"nkey": key, "sig": signature} if key else {}
    connect = f"CONNECT {json.dumps(who | {'verbose': False, 'headers': True})}"
    writer.write("".join(f"{line}\r\n" for line in (connect, *lines, "PING")).encode())
    said = []
    async with asyncio.timeout(60):
        while line := (await reader.readline()).decode():
            said.append(line)
            if line.startswith("PONG"):  # it comes after every refusal
                break
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return said


async def refused(port, key, seed):
    """Try everything as one identity; return the subjects that the broker refused."""
    lines = [f"PUB {subject} 0\r\n" for subject in MAY_PUBLISH]
    lines += [f"SUB {subject} {number}" for number, subject in enumerate(MAY_SUBSCRIBE, 1)]
    said = await answers_to(port, key, seed, lines)
    assert said[-1].startswith("PONG"), said
    found = [re.search(r'(publish|subscription) to "([^"]+)"', e, re.IGNORECASE) for e in said]
    return {(match[1].lower(), match[2]) for match in found if match}


async def test_each_may_do_what_it_has_to_and_nothing_else(known, tmp_path, capsys):
    keys = keep_keys(tmp_path, [identity.name for identity in known])
    wrong, checks = [], 0
    async with nats_server(authorization(known, keys)) as server:
        for identity in known:
            seed = key_file(tmp_path, identity.name)
            said = await refused(server.port, keys[identity.name], seed)
            for kind, table in (("publish", MAY_PUBLISH), ("subscription", MAY_SUBSCRIBE)):
                for subject, allowed in table.items():
                    checks += 1
                    may = (kind, subject) not in said
                    if may != (identity.name in allowed):
                        wrong.append(f"{identity.name} {kind} {subject}: {may}")
    with capsys.disabled():
        print(f"\n{checks} permissions checked on a real server")
    assert not wrong


async def test_whoever_has_no_key_or_another_one_is_turned_away(known, tmp_path):
    keys = keep_keys(tmp_path, [identity.name for identity in known])
    other = keep_keys(tmp_path / "other", ["gateway"])
    ours, theirs = key_file(tmp_path, "gateway"), key_file(tmp_path / "other", "gateway")
    async with nats_server(authorization(known, keys)) as server:
        assert "PONG" in (await answers_to(server.port, keys["gateway"], ours))[-1]
        for key, seed in (("", theirs), (other["gateway"], theirs), (keys["gateway"], theirs)):
            said = await answers_to(server.port, key, seed)
            assert "Authorization Violation" in said[-1]


def test_the_table_above_knows_every_identity_and_every_permission(known):
    assert {identity.name for identity in known} == ALL
    for identity in known:
        for patterns, table in (
            (identity.publish, MAY_PUBLISH),
            (identity.subscribe, MAY_SUBSCRIBE),
        ):
            mine = [subject for subject, allowed in table.items() if identity.name in allowed]
            for pattern in patterns:
                assert any(covers(pattern, subject) for subject in mine), (identity.name, pattern)


def test_the_chart_permits_exactly_that(known):
    permissions = script("permissions")
    assert permissions.FILE.read_text() == permissions.text(known)


def test_keys_are_kept_and_only_their_owner_can_read_them(tmp_path):
    folder = tmp_path / "keys"
    first = keep_keys(folder, ["gateway", "crm"])
    assert keep_keys(folder, ["crm", "gateway"]) == first
    assert first["gateway"] != first["crm"]
    assert key_file(folder, "crm").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def until(holds, within=90.0):
    deadline = time.monotonic() + within
    while not (told := holds())[0]:
        assert time.monotonic() < deadline, told[1]
        time.sleep(0.2)


@pytest.mark.timeout(600)  # ten programs are started twice over
def test_a_whole_system_runs_with_no_more_than_that(develop, tmp_path):
    shutil.copy(ROOT / "seaway.toml", tmp_path)
    dev = develop("--secure")
    dev.says("Everything runs", within=180.0)
    for name in ("ada", "ada"):  # the second one is told that the address is taken
        signed_up = dev.seaway("sign-up", "--email", f"{name}@example.org", "--name", "Ada")
        assert signed_up.returncode == 0, signed_up.stderr

    def audited():
        told = dev.seaway("audit")
        return told.returncode == 0, told.stdout + told.stderr

    until(audited)
    for command in (("topology", "check", "user-creation"), ("dead-letters", "list")):
        told = dev.seaway(*command)
        assert told.returncode == 0, told.stdout + told.stderr
    durable = ("--durable", "user-creation-create-user-requested")
    for start in ("1", "1h"):
        told = dev.seaway("replay", *durable, "--from", start, "--yes")
        assert told.returncode == 0, told.stdout + told.stderr
        assert told.stdout.endswith("from #1: 2 messages\nbegun\n")
    until(audited)
    assert not [line for line in dev.lines if "permissions violation" in line.lower()], dev.lines
