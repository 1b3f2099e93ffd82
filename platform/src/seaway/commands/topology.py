"""Streams and durables: as declared, and as the broker has them."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from seaway.commands.reach import named, reached, say
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.errors import SettingsError, TopologyError
from seaway.jetstream.starting import answered
from seaway.manifest import NAME, Manifest, Program, find_root, read_manifest
from seaway.settings import Settings
from seaway.topology import (
    DurableSpec,
    Topology,
    apply,
    declared,
    drift,
    plan,
    survey,
    unowned,
)

REFUSED = 1

topology = typer.Typer(
    help="Streams and durables: as declared, and as the broker has them.",
    no_args_is_help=True,
)

Services = Annotated[
    list[str] | None,
    typer.Argument(help=f"Names from {NAME}; all of them if none is given.", show_default=False),
]


@topology.command("plan")
def show_plan(services: Services = None) -> None:
    """Say what `apply` would do, and what of it is unsafe. Changes nothing."""
    asyncio.run(_plan(services or []))


@topology.command("apply")
def carry_out(
    services: Services = None,
    allow_unsafe: Annotated[
        bool, typer.Option("--allow-unsafe", help="Do what may lose messages, too.")
    ] = False,
) -> None:
    """Make the broker have what is declared. Safe to repeat; refuses, by name, what is unsafe.

    Waits for a minute for a broker that is only just being started.
    """
    asyncio.run(_apply(services or [], allow_unsafe=allow_unsafe))


@topology.command("check")
def compare(services: Services = None) -> None:
    """Name every difference between broker and declarations; exit with 1 if there is one."""
    differences = asyncio.run(_check(services or []))
    print("\n".join(differences) if differences else "as declared")
    raise typer.Exit(REFUSED if differences else 0)


async def _plan(services: Sequence[str]) -> None:
    wanted = await declared_by(services)
    async with reached() as broker:
        found = await survey(broker, wanted)
    changes = plan(wanted, found)
    for change in changes:
        print("\n  unsafe: ".join([change.sentence, *change.dangers]))
    for sentence in [] if services else unowned(wanted, found):
        print(sentence)
    if not changes:
        print("nothing to do")


async def _apply(services: Sequence[str], *, allow_unsafe: bool) -> None:
    wanted = await declared_by(services)
    async with named() as broker:
        changes = await answered(
            broker, lambda: apply(broker, wanted, allow_unsafe=allow_unsafe), say
        )
    for change in changes:
        print(change.sentence)


async def _check(services: Sequence[str]) -> list[str]:
    wanted = await declared_by(services)
    async with reached() as broker:
        return await drift(broker, wanted)


async def declared_by(services: Sequence[str]) -> Topology:
    """Return what these services need, or all of seaway.toml, and every installed stream.

    Raises TopologyError if a service does not tell, SettingsError for an unknown one.
    """
    root = find_root(Path.cwd())
    programs = _chosen(read_manifest(root / NAME), services)
    asked = await asyncio.gather(*(_durables_of(program, root) for program in programs))
    return declared(
        {DEAD, *(address_of(type_).stream for type_ in installed_types().values())},
        [spec for specs in asked for spec in specs],
        Settings.from_environment().replicas,
        [program.name for program in programs],
    )


def _chosen(manifest: Manifest, services: Sequence[str]) -> list[Program]:
    if unknown := set(services) - manifest.programs.keys():
        raise SettingsError(f"{NAME} has no service {', '.join(sorted(unknown))}")
    return [p for name, p in manifest.programs.items() if not services or name in services]


async def _durables_of(program: Program, root: Path) -> list[DurableSpec]:
    """Ask a program what it listens to; for one in another language seaway.toml says it."""
    if program.is_foreign:
        listens = program.subscriptions
        return [DurableSpec.elsewhere(program.name, s.message, s.start) for s in listens]
    process = await asyncio.create_subprocess_exec(
        *program.command,
        "topology",
        "show",
        cwd=root,
        env=os.environ | program.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    if process.returncode:
        command = " ".join([*program.command, "topology", "show"])
        raise TopologyError(f"{program.name}: `{command}` ended with {process.returncode}")
    return [_spec(program, line) for line in told.decode().splitlines()]


def _spec(program: Program, line: str) -> DurableSpec:
    try:
        return DurableSpec.from_json(json.loads(line))
    except ValueError as error:
        raise TopologyError(f"{program.name} told no durable but: {line}") from error
