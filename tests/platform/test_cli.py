"""The command line: what it loads, what it refuses, and how it says so."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from development import SEAWAY, environment, is_free, seaway
from seaway.broker import Stored
from seaway.cli import OURS, commands
from seaway.commands.conversation import understood
from seaway.commands.trace import not_acted
from seaway.envelope import Envelope
from seaway.errors import SettingsError
from seaway.manifest import Listens, find_root, read_manifest
from seaway.topology import Durable

ROOT = Path(__file__).parents[2]
KEY = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
WORKER = "user-creation-create-user-requested"


def loaded_by(*arguments):
    """The modules that are imported before a command runs."""
    code = (
        "import sys; from seaway.cli import application;"
        f"application({list(arguments)}); print(*sys.modules)"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(asked.stdout.decode().split())


# What it knows


def test_it_lists_every_command_with_a_sentence(tmp_path):
    listed = seaway("--help", folder=tmp_path).stdout
    for name in OURS:
        assert any(line.split()[1:2] == [name] and "." in line for line in listed.splitlines())


def test_an_installed_distribution_brings_its_own_command(tmp_path):
    assert commands()["sign-up"].module == "gateway.cli"
    assert "Sign somebody up" in seaway("--help", folder=tmp_path).stdout


def test_the_list_loads_no_command():
    assert not {"nats", "grpc", "pydantic"} & loaded_by("--help")


def test_a_command_loads_none_of_the_others():
    assert not {"nats", "grpc", "pydantic"} & loaded_by("dev")
    assert {"nats", "seaway.commands.tail"} <= loaded_by("tail")
    assert "seaway.commands.trace" not in loaded_by("tail")


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["dev"], "no seaway.toml in"),
        (["stop", "gateway"], "no seaway.toml in"),
        (["topology", "plan"], "no seaway.toml in"),
        (["trace", "a.b.*"], "not an id"),
    ],
)
def test_a_wrong_use_exits_with_2_and_says_why(tmp_path, arguments, words):
    refused = seaway(*arguments, folder=tmp_path)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_broker_that_is_not_there_exits_with_3(tmp_path):
    (tmp_path / "seaway.toml").write_text("[services]")
    port = next(port for port in range(20000, 30000) if is_free(port))
    url = f"nats://127.0.0.1:{port}"
    asked = [
        subprocess.Popen(
            [SEAWAY, *arguments],
            cwd=tmp_path,
            env=environment() | {"SEAWAY_NATS_URL": url},
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (["tail"], ["trace", KEY], ["topology", "check"])
    ]
    for process in asked:
        _, said = process.communicate()
        assert process.returncode == 3
        assert said.endswith(f"the broker cannot be reached: no answer from {url}\n")


def test_the_script_at_the_root_runs_it_from_anywhere(tmp_path):
    asked = subprocess.run(
        [ROOT / "seaway", "--help"], cwd=tmp_path, capture_output=True, check=True
    )
    assert b"seaway dev" in asked.stdout


def test_the_script_at_the_root_says_what_is_missing(tmp_path):
    shutil.copy(ROOT / "seaway", tmp_path)
    asked = subprocess.run(["./seaway", "dev"], cwd=tmp_path, capture_output=True, check=False)
    assert asked.returncode == 2
    assert b"nothing is installed yet (no ./.venv/bin/seaway); run 'make setup'" in asked.stderr


# seaway.toml


def manifest(tmp_path, text):
    path = tmp_path / "seaway.toml"
    path.write_text(text)
    return read_manifest(path)


def test_our_own_manifest_can_be_read():
    programs = read_manifest(ROOT / "seaway.toml").programs
    assert programs["gateway"].command == (sys.executable, "-m", "gateway")
    assert programs["gateway"].ports["grpc"] == 50051
    assert programs["gateway"].environment["SEAWAY_SIGN_UPS_PER_MINUTE"] == "0"
    assert programs["user-creation"].metrics_port == 9102
    assert not programs["user-creation"].is_foreign


def test_a_program_in_another_language_says_what_it_listens_to(tmp_path):
    text = """
    [services.audit-log]
    command = ["./audit-log"]
    metrics_port = 9110
    [[services.audit-log.subscriptions]]
    message = "acme.users.v1.CreateUserConfirmed"
    start = "now"
    [[services.audit-log.subscriptions]]
    message = "acme.users.v1.CreateUserRejected"
    """
    program = manifest(tmp_path, text).programs["audit-log"]
    assert program.is_foreign
    assert program.command == ("./audit-log",)
    assert program.subscriptions == (
        Listens("acme.users.v1.CreateUserConfirmed", "now"),
        Listens("acme.users.v1.CreateUserRejected", "beginning"),
    )


SERVICE = '[services.a]\ncommand = ["a"]\nmetrics_port = 9101\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"expected \[services"),
        ("[services]\n[more]", r"expected \[services"),
        ("not toml", "seaway.toml: "),
        ("[services]\n[dev]\ntry = 1", r"\[dev\] takes"),
        ("[services.a]", r"\[services.a\] needs a command"),
        ('[services.a]\ncommand = "a"\nmetrics_port = 1', r"\[services.a\] needs a command"),
        ('[services.a]\ncommand = ["a", 1]\nmetrics_port = 1', "command is not a list of strings"),
        (SERVICE + "port = 1", "has unknown port"),
        (SERVICE + 'ports = { grpc = "1" }', "ports is not a table of int"),
        (SERVICE + "environment = { A = 1 }", "environment is not a table of str"),
        (SERVICE + "subscriptions = 1", "is not a list of tables"),
        (
            SERVICE + '[[services.a.subscriptions]]\nmessage = "M"\nstart = "later"',
            "takes message",
        ),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words):
        manifest(tmp_path, text)


def test_the_manifest_is_found_from_a_folder_below_it(tmp_path):
    (tmp_path / "seaway.toml").touch()
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    assert find_root(below) == tmp_path


# Who has not acted


def stored(envelope, sequence=1):
    posting = envelope.posting()
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sequence)
    return understood(Stored(posting.subject, posting.data, posting.headers, sequence, at))


REQUESTED = Envelope.opening(
    CreateUserRequested(request_id=KEY, email="ada@example.org", display_name="Ada"), "gateway"
)
CONFIRMED = REQUESTED.reply(
    CreateUserConfirmed(request_id=KEY, user_id=KEY, email="ada@example.org"), WORKER
)
ASKED = "users.v1.create-requested.*"


def durable(*, floor, delivered, in_hand, filter_=ASKED):
    return Durable({"filter_subjects": [filter_]}, 0, in_hand, floor, delivered)


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        pytest.param(durable(floor=4, delivered=4, in_hand=0), False, id="it was never given it"),
        pytest.param(durable(floor=4, delivered=5, in_hand=1), True, id="it has it in hand"),
        pytest.param(durable(floor=5, delivered=5, in_hand=0), None, id="it has acked it"),
        pytest.param(durable(floor=3, delivered=5, in_hand=0), None, id="nothing is in hand"),
        pytest.param(durable(floor=3, delivered=9, in_hand=2), True, id="it may be this one"),
        pytest.param(
            durable(floor=0, delivered=0, in_hand=0, filter_="users.v1.create-confirmed.*"),
            None,
            id="it does not listen to it",
        ),
    ],
)
def test_whether_a_durable_has_acted_on_message_5(found, waits):
    outstanding = not_acted([stored(REQUESTED, 5)], {WORKER: found})
    assert [o.delivered for o in outstanding] == ([] if waits is None else [waits])


def test_a_reply_proves_that_a_durable_has_acted_whatever_the_broker_says():
    forgotten = durable(floor=0, delivered=1, in_hand=1)
    conversation = [stored(REQUESTED, 1), stored(CONFIRMED, 2)]
    assert not_acted(conversation, {WORKER: forgotten}) == []
    assert not_acted(conversation, {"another": forgotten})[0].durable == "another"


# How messages are shown


def test_personal_fields_are_masked_unless_asked():
    said = stored(REQUESTED)
    assert said.fields(show_personal=False)["email"] == "***"
    assert said.fields(show_personal=True)["email"] == "ada@example.org"
    assert "ada" not in said.to_json(show_personal=False).lower()


@pytest.mark.parametrize(
    ("data", "headers", "why"),
    [
        (b"\xff", {"ce-type": "acme.users.v1.CreateUserRequested"}, "UNDECODABLE"),
        (b"", {"ce-type": "acme.users.v1.CreateUserRequested"}, "INVALID"),
        (b"ada@example.org", {"ce-type": "acme.users.v9.Unknown"}, "UNKNOWN_TYPE"),
        (b"ada@example.org", {}, "UNKNOWN_TYPE"),
    ],
)
def test_what_cannot_be_decoded_is_shown_as_such_and_not_as_it_is(data, headers, why):
    said = understood(Stored("users.v1.x", data, headers, 1, datetime.now(UTC)))
    assert said.wrong == why
    assert f'"undecodable": "{why}"' in said.to_json(show_personal=True)
    assert "ada" not in said.to_json(show_personal=True)
