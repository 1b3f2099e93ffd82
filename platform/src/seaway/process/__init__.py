"""The main of a service: settings, broker, health, run, stop.

    def build(process: Process) -> Service:
        settings = process.settings(MailSettings)
        return welcome_email(SmtpMailer(settings.smtp_host))

    serve("welcome-email", build)

`build` makes lazy objects and does no I/O: what has to be opened is given to `process.during`,
what has to have happened before to `process.before`. So the same `build` serves to run a
service, to prepare its database, and to ask what it listens to.
"""

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, NoReturn

from seaway import failpoints
from seaway.errors import BrokerUnavailable, SettingsError, TopologyError
from seaway.process.preparing import TOPOLOGY, prepare
from seaway.process.process import Process
from seaway.process.running import run, version_of
from seaway.service import Service
from seaway.telemetry import configure_logging
from seaway.tracing import recording

__all__ = ["Process", "serve"]

REFUSED = 1
"""The exit code of `topology apply` with unsafe changes."""
UNREACHABLE = 3
CONFIGURATION = 78
"""The exit code for settings that cannot work, as in sysexits.h."""

YOUNG = 20_000
"""New objects after which Python looks for garbage among them. With its own 700 it goes through a
batch in hand again and again, in which all is in use: 6 % of the processor's time in a backlog."""

type Build = Callable[[Process], Service]
type Command = Callable[[Process, Service, argparse.Namespace], Coroutine[Any, Any, int]]


def serve(name: str, build: Build) -> NoReturn:
    """Be the main of a service: run it, prepare it or ask it, as the command line says.

    Exits with 0 after a clean stop, 1 when something failed for good, 78 for wrong settings.
    """
    arguments = _arguments(name)
    if arguments.prepare and (code := _carry_out(name, build, prepare, arguments)):
        sys.exit(code)
    sys.exit(_carry_out(name, build, arguments.command, arguments))


def _carry_out(name: str, build: Build, command: Command, arguments: argparse.Namespace) -> int:
    try:
        process = Process(name)
        service = build(process)
        failpoints.arm(process.basics.crash_at)
        configure_logging(name, process.basics.log_level, process.basics.log_format)
        code = asyncio.run(command(process, service, arguments))
    except* (SettingsError, BrokerUnavailable, TopologyError) as errors:  # alone or of a task
        error = errors.exceptions[0]
        print(f"{name}: {error}", file=sys.stderr)
        codes: dict[type, int] = {SettingsError: CONFIGURATION, BrokerUnavailable: UNREACHABLE}
        code = codes.get(type(error), REFUSED)
    return code


async def _run(process: Process, service: Service, _: argparse.Namespace) -> int:
    gc.set_threshold(YOUNG)
    with recording(service.name, version_of(service.name)):
        return await run(process, service)


def _arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=name, description=f"The service {name}.")
    parser.add_argument("--version", action="version", version=version("seaway"))
    parser.add_argument("--prepare", action="store_true", help="prepare, and then run")
    parser.set_defaults(as_provisioner=False)
    parser.set_defaults(command=_run)
    commands = parser.add_subparsers(title="instead of running it", metavar="COMMAND")
    preparing = commands.add_parser(
        "prepare", help="migrate its database, make its streams and durables; safe to repeat"
    )
    preparing.add_argument(
        "--as-provisioner", action="store_true", help="… as who alone may make those"
    )
    preparing.set_defaults(command=prepare)
    about = commands.add_parser("topology", help="what it needs of the broker")
    actions = about.add_subparsers(required=True, metavar="ACTION")
    for action, (command, text) in TOPOLOGY.items():
        chosen = actions.add_parser(action, help=text, description=text)
        chosen.add_argument("--allow-unsafe", action="store_true", help="… even if data is lost")
        chosen.set_defaults(command=command)
    return parser.parse_args()
