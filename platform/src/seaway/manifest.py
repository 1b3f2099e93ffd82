"""seaway.toml: which services make up this system, and how to run them."""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from seaway.errors import SettingsError

NAME = "seaway.toml"

OPTIONAL = {"ports", "environment", "subscriptions", "audited", "broker"}

type Table = Mapping[object, object]


@dataclass(frozen=True, slots=True)
class Listens:
    """A subscription of a program that cannot be asked for its own."""

    message: str
    """The full name of the message type."""
    start: Literal["beginning", "now"] = "beginning"


@dataclass(frozen=True, slots=True)
class Grants:
    """What a program may do at the broker beyond what its subscriptions say."""

    publishes: tuple[str, ...] = ()
    """Full names of message types. Outcomes of a command that it listens to go without saying."""
    follows: tuple[str, ...] = ()
    """Full names of message types that it hears as they are stored, and reads one by one."""
    reads: tuple[str, ...] = ()
    """Streams that it may read as a whole."""


@dataclass(frozen=True, slots=True)
class Program:
    """One service: the command that runs it, and the ports it serves on."""

    name: str
    command: tuple[str, ...]
    metrics_port: int
    ports: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    subscriptions: tuple[Listens, ...] = ()
    audited: bool = True
    """Whether the audit asks it. One that handles no message and keeps no row need not be up."""
    broker: Grants = field(default_factory=Grants)

    @property
    def is_foreign(self) -> bool:
        """Whether it is written without this platform, so that it knows no `prepare`."""
        return bool(self.subscriptions)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All services of a system, by name, in the order of the file."""

    programs: Mapping[str, Program]
    invitations: tuple[str, ...] = ()
    """Commands to try once everything runs."""

    def endpoints(self, offset: int) -> Mapping[str, Sequence[str]]:
        """Return where the audit asks each service, if all of them run on this machine."""
        return {
            program.name: [f"http://127.0.0.1:{program.metrics_port + offset}"]
            for program in self.programs.values()
            if program.audited
        }


def find_root(start: Path) -> Path:
    """Return the folder of the nearest seaway.toml, here or above.

    Raises SettingsError if there is none.
    """
    for folder in (start, *start.parents):
        if (folder / NAME).is_file():
            return folder
    raise SettingsError(f"no {NAME} in {start} or above it")


def read_manifest(path: Path) -> Manifest:
    """Read seaway.toml. Raises SettingsError with the entry that cannot be understood."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name}: {error}") from error
    match content:
        case {"services": dict(services), **rest} if not rest.keys() - {"dev"}:
            programs = {name: _program(name, entry) for name, entry in services.items()}
            return Manifest(programs, _invitations(rest.get("dev", {})))
    raise SettingsError(f"{path.name}: expected [services.<name>] tables and [dev], no others")


def _invitations(entry: object) -> tuple[str, ...]:
    match entry:
        case {"try": list(lines), **rest} if not rest and all(isinstance(i, str) for i in lines):
            return tuple(lines)
        case {**rest} if not rest:
            return ()
    raise SettingsError(f"{NAME}: [dev] takes try = [commands], and nothing else")


def _program(name: str, entry: object) -> Program:
    match entry:
        case {"command": [str(), *_] as command, "metrics_port": int(port), **rest}:
            return Program(
                name=name,
                command=_runnable(name, command),
                metrics_port=port,
                ports=cast(Mapping[str, int], _table(name, rest, "ports", int)),
                environment=cast(Mapping[str, str], _table(name, rest, "environment", str)),
                subscriptions=_subscriptions(name, rest),
                audited=_audited(name, rest),
                broker=_grants(name, rest),
            )
    raise SettingsError(f"{NAME}: [services.{name}] needs a command (a list) and a metrics_port")


def _runnable(name: str, command: list[object]) -> tuple[str, ...]:
    words = [word for word in command if isinstance(word, str)]
    if len(words) != len(command):
        raise SettingsError(f"{NAME}: [services.{name}] command is not a list of strings")
    return (sys.executable if words[0] == "python" else words[0], *words[1:])


def _table(name: str, entry: Table, key: str, kind: type) -> Table:
    if unknown := entry.keys() - OPTIONAL:
        raise SettingsError(
            f"{NAME}: [services.{name}] has unknown {', '.join(sorted(map(str, unknown)))}"
        )
    table = entry.get(key, {})
    if isinstance(table, dict) and all(isinstance(value, kind) for value in table.values()):
        return table
    raise SettingsError(f"{NAME}: [services.{name}] {key} is not a table of {kind.__name__}")


def _subscriptions(name: str, entry: Table) -> tuple[Listens, ...]:
    listed = entry.get("subscriptions", [])
    if isinstance(listed, list):
        return tuple(_listens(name, one) for one in listed)
    raise SettingsError(f"{NAME}: [[services.{name}.subscriptions]] is not a list of tables")


def _audited(name: str, entry: Table) -> bool:
    match entry.get("audited", True):
        case bool(audited):
            return audited
    raise SettingsError(f"{NAME}: [services.{name}] audited is neither true nor false")


def _grants(name: str, entry: Table) -> Grants:
    table = entry.get("broker", {})
    if isinstance(table, dict) and not table.keys() - {"publishes", "follows", "reads"}:
        lists = {str(key): value for key, value in table.items() if isinstance(value, list)}
        words = [word for listed in lists.values() for word in listed]
        if len(lists) == len(table) and all(isinstance(word, str) for word in words):
            return Grants(**{key: tuple(value) for key, value in lists.items()})
    raise SettingsError(
        f"{NAME}: [services.{name}] broker takes lists of names: publishes, follows, reads"
    )


def _listens(name: str, entry: object) -> Listens:
    match entry:
        case {"message": str(message), "start": "beginning" | "now" as start, **rest} if not rest:
            return Listens(message, start)
        case {"message": str(message), **rest} if not rest:
            return Listens(message)
    raise SettingsError(
        f"{NAME}: [[services.{name}.subscriptions]] takes message and start (beginning or now)"
    )
