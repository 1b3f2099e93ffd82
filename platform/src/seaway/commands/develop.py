"""`seaway dev`, and `seaway start` and `stop`, which speak to it."""

import asyncio
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from seaway.commands.programs import identities
from seaway.dev.access import KEYS, Access
from seaway.dev.control import Request, ask
from seaway.dev.folder import NAME, InUse, clear, sole_use
from seaway.dev.ports import Ports, holder_of, is_taken
from seaway.dev.screen import Screen
from seaway.dev.supervisor import BROKER, Development
from seaway.dev.watch import watching
from seaway.manifest import NAME as MANIFEST
from seaway.manifest import find_root, read_manifest

REFUSED = 1
UNREACHABLE = 3


def dev(
    fresh: Annotated[
        bool, typer.Option("--fresh", help=f"Remove the data in {NAME}/ first.")
    ] = False,
    port_offset: Annotated[
        int, typer.Option(min=0, max=15_000, help="Added to every port, if one is taken.")
    ] = 0,
    secure: Annotated[
        bool, typer.Option("--secure", help="Let each service do only what it has to.")
    ] = False,
) -> None:
    """Start the broker and every service; Ctrl-C stops them.

    The services are those of seaway.toml. Their databases are migrated, and the broker's streams
    and durables made, before they start; one that crashes is started again. In a second
    terminal, `seaway stop` and `seaway start` end and begin single services, and every other
    command finds what runs here.

    With --secure the broker knows each service by a key, kept in .seaway/keys, and refuses
    whatever `seaway topology permissions` does not list; commands are the operator there.
    """
    root = find_root(Path.cwd())
    os.chdir(root)  # SQLite's files and our socket are named from here
    manifest = read_manifest(root / MANIFEST)
    ports = Ports.of(manifest, port_offset)
    with ExitStack() as held:
        try:
            lock = held.enter_context(sole_use(root / NAME))
        except InUse as error:
            _refuse(str(error))
        _check_ports(ports)
        if fresh:
            clear(root / NAME)
            if "SEAWAY_DATABASE_URL" in os.environ:
                print("SEAWAY_DATABASE_URL is set: what is in that database stays")
        watch = held.enter_context(watching(keep_open=[lock]))
        access = _access(root) if secure else None
        screen = Screen([BROKER, *manifest.programs])
        code = asyncio.run(Development(manifest, ports, root / NAME, screen, watch, access).run())
    raise typer.Exit(code)


def _access(root: Path) -> Access:
    return Access.among(asyncio.run(identities()), root / NAME / KEYS)


def stop(
    service: Annotated[str, typer.Argument(help="A name from seaway.toml, or nats.")],
) -> None:
    """Stop one service of a running `seaway dev`.

    What it listens to is kept for it: once started again it handles everything it has missed.
    """
    _tell(Request("stop", service))


def start(
    service: Annotated[str, typer.Argument(help="A name from seaway.toml, or nats.")],
) -> None:
    """Start a service that was stopped, and wait until it is ready."""
    _tell(Request("start", service))


def _tell(request: Request) -> None:
    answer = ask(find_root(Path.cwd()), request)
    if answer is None:
        print("no `seaway dev` runs in this folder", file=sys.stderr)
        raise typer.Exit(UNREACHABLE)
    if not answer.done:
        _refuse(answer.text)
    print(answer.text)


def _check_ports(ports: Ports) -> None:
    taken = [(port, use) for use, port in ports.by_purpose().items() if is_taken(port)]
    for port, use in taken:
        holder = holder_of(port)
        print(f"port {port} ({use}) is taken{f' by {holder}' if holder else ''}", file=sys.stderr)
    if taken:
        _refuse(f"end it, or move every port: seaway dev --port-offset {ports.offset + 100}")


def _refuse(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)
    raise typer.Exit(REFUSED)
