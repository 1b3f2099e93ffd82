"""Streams and durables: as declared, and as the broker has them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from seaway.commands.programs import chosen, durables_of, identities
from seaway.commands.reach import named, reached, say
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.jetstream.starting import answered
from seaway.manifest import NAME, find_root, read_manifest
from seaway.settings import Settings
from seaway.topology import (
    Topology,
    apply,
    declared,
    drift,
    plan,
    survey,
    unowned,
)
from seaway.topology.keys import keep_keys
from seaway.topology.permissions import authorization

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


@topology.command("permissions")
def permit(
    keys: Annotated[
        Path, typer.Option(help="The folder of the keys; who has none yet is given one.")
    ] = Path(".seaway/keys"),
) -> None:
    """Print who may do what, as a part of the nats-server's configuration to include.

    It follows from the contracts, the subscriptions and the `broker` entries of seaway.toml. Each
    identity has an nkey; give a service its file as SEAWAY_NATS_CREDENTIALS_FILE.
    """
    known = asyncio.run(identities())
    print(authorization(known, keep_keys(keys, [who.name for who in known])), end="")


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
    programs = chosen(read_manifest(root / NAME), services)
    asked = await asyncio.gather(*(durables_of(program, root) for program in programs))
    wanted = declared(
        {DEAD, *(address_of(type_).stream for type_ in installed_types().values())},
        [spec for specs in asked for spec in specs],
        Settings.from_environment().replicas,
        [program.name for program in programs],
    )
    # Of one in another language nobody here can say more than that it listens from now on.
    ours = {program.name for program in programs if not program.is_foreign}
    told = [s for specs in asked for s in specs if s.service in ours and s.start == "now"]
    return replace(wanted, recorded={(s.stream, s.name): None for s in told})
