"""What each program of seaway.toml needs: asked of it, or said for it."""

import json
from argparse import Namespace

import pytest
from acme.users.v1 import CreateUserConfirmed
from seaway.commands.programs import chosen, durables_of, identities
from seaway.commands.topology import declared_by
from seaway.contract import address_of
from seaway.errors import SettingsError, TopologyError
from seaway.manifest import NAME, read_manifest
from seaway.process import Process
from seaway.process.preparing import show_topology
from seaway.service import Service

DURABLE = "greeter-create-user-confirmed"
CONFIRMED = address_of(CreateUserConfirmed).every_key


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a function that writes seaway.toml, into the folder that we are in."""
    monkeypatch.chdir(tmp_path)

    def write(*services):
        (tmp_path / NAME).write_text("".join(services))
        return read_manifest(tmp_path / NAME)

    return write


def entry(name, *command, more=""):
    return f"[services.{name}]\ncommand = {json.dumps(command)}\nmetrics_port = 9101\n{more}\n"


async def told_by(manifest, root):
    """What its only program listens to."""
    [program] = manifest.programs.values()
    return await durables_of(program, root)


async def test_a_service_tells_what_it_listens_to_and_hears_its_settings(root, tmp_path, capsys):
    service = Service("greeter")

    @service.on(CreateUserConfirmed, start="now")
    async def greet(message):
        """Nobody calls it here."""

    await show_topology(Process("greeter"), service, Namespace())
    (tmp_path / "told").write_text(capsys.readouterr().out)
    more = 'environment = { TOLD = "told" }'
    # What comes after the command are two words more; sh takes them for itself.
    manifest = root(entry("greeter", "sh", "-c", 'test "$*" = show && cat "$TOLD"', more=more))
    [spec] = await told_by(manifest, tmp_path)
    assert (spec.name, spec.stream, spec.start) == (DURABLE, "USERS", "now")
    assert CONFIRMED in spec.filter_subjects
    # Only the service itself can say whether it was there before.
    assert (await declared_by([])).recorded == {("USERS", DURABLE): None}


async def test_for_a_program_in_another_language_the_manifest_tells(root, tmp_path):
    more = '[[services.greeter.subscriptions]]\nmessage = "acme.users.v1.CreateUserConfirmed"'
    [spec] = await told_by(root(entry("greeter", "./not-there", more=more)), tmp_path)
    assert (spec.name, spec.stream, spec.start) == (DURABLE, "USERS", "beginning")
    root(entry("greeter", "./not-there", more=more + '\nstart = "now"'))
    assert (await declared_by([])).recorded == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("echo", "hello"), "greeter told no durable but: hello topology show"),
        (("sh", "-c", "exit 7"), "greeter: `sh -c exit 7 topology show` ended with 7"),
    ],
)
async def test_a_program_that_does_not_tell_is_named(root, tmp_path, command, why):
    with pytest.raises(TopologyError) as refused:
        await told_by(root(entry("greeter", *command)), tmp_path)
    assert str(refused.value) == why


def test_some_of_them_are_chosen_by_their_names(root):
    manifest = root(entry("one", "one"), entry("two", "two"))
    assert [program.name for program in chosen(manifest, ())] == ["one", "two"]
    assert [program.name for program in chosen(manifest, ["two"])] == ["two"]
    with pytest.raises(SettingsError, match=r"has no service five, four$"):
        chosen(manifest, ["four", "two", "five"])


async def test_each_of_them_is_somebody_to_the_broker_and_so_are_two_people(root):
    more = '[[services.greeter.subscriptions]]\nmessage = "acme.users.v1.CreateUserConfirmed"'
    root(entry("greeter", "./not-there", more=more))
    assert [who.name for who in await identities()] == ["provisioner", "operator", "greeter"]
