"""The command `seaway`. It knows no domain: installed distributions bring commands of their own.

Only the module of the command that is called is loaded, so that each starts quickly. The list of
all commands loads none.
"""

import ast
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import typer

from seaway.dev.control import Request, ask
from seaway.errors import BrokerUnavailable, SeawayError, SettingsError
from seaway.manifest import find_root

GROUP = "seaway.commands"
OURS = {
    "audit": "seaway.commands.audit:audit",
    "conformance": "seaway.commands.conformance:conformance",
    "dev": "seaway.commands.develop:dev",
    "start": "seaway.commands.develop:start",
    "stop": "seaway.commands.develop:stop",
    "topology": "seaway.commands.topology:topology",
    "tail": "seaway.commands.tail:tail",
    "trace": "seaway.commands.trace:trace",
    "dead-letters": "seaway.commands.dead_letters:dead_letters",
    "replay": "seaway.commands.replay:replay",
    "mail": "seaway.commands.mail:mail",
}
"""A function is a command, a Typer is a group of them."""
REFUSED = 1
USAGE = 2
UNREACHABLE = 3


def main() -> None:
    """Run the command line of this process; the way out is its exit code."""
    arguments = sys.argv[1:]
    find_running_system()
    try:
        application(arguments)()
    except BrokerUnavailable as error:
        fail(f"the broker cannot be reached: {error}", UNREACHABLE)
    except SettingsError as error:
        fail(str(error), USAGE)
    except SeawayError as error:
        fail(str(error), REFUSED)


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the commands that these arguments can mean: the one they name, or a list of all."""
    app = typer.Typer(
        name="seaway",
        help="Event-driven services in which nothing accepted is ever lost.",
        epilog="Begin with `seaway dev`. Every command explains itself: seaway COMMAND --help",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # so that a single command is still called by its name
    known = commands()
    named = next((word for word in arguments if word in known), None)
    for point in [known[named]] if named else known.values():
        _add(app, point.name, point.load() if named else _listed(point))
    return app


def _add(app: typer.Typer, name: str, command: typer.Typer | Callable[..., None]) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _listed(point: EntryPoint) -> Callable[[], None]:
    """Return what stands for a command in the list: its docstring, read and not imported."""

    def nothing() -> None: ...

    loader = getattr(find_spec(point.module), "loader", None)
    source = loader.get_source(point.module) if isinstance(loader, InspectLoader) else None
    module = ast.parse(source or "")
    functions = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == point.attr]
    nothing.__doc__ = ast.get_docstring(functions[0] if functions else module)
    return nothing


def commands() -> Mapping[str, EntryPoint]:
    """Return where each command is found, by name: ours, and what is installed beside us."""
    ours = [EntryPoint(name, value, GROUP) for name, value in OURS.items()]
    return {point.name: point for point in [*ours, *entry_points(group=GROUP)]}


def find_running_system() -> None:
    """Let every command find the `seaway dev` of this folder, at whatever ports it runs.

    Who has said where the broker is means another system, and is left alone.
    """
    if "SEAWAY_NATS_URL" in os.environ:
        return
    try:
        answer = ask(find_root(Path.cwd()), Request("environment"))
    except SeawayError:
        return
    for name, value in answer.environment.items() if answer else ():
        os.environ.setdefault(name, value)


def fail(reason: str, code: int) -> None:
    """Say why, and end."""
    print(f"seaway: {reason}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
