"""The programs of seaway.toml: what each listens to, and who it is to the broker."""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from seaway.errors import SettingsError, TopologyError
from seaway.manifest import NAME, Manifest, Program, find_root, read_manifest
from seaway.topology import DurableSpec
from seaway.topology.permissions import Identity, operator, provisioner, service_identity


async def identities() -> list[Identity]:
    """Return who may connect to the broker: each program of seaway.toml, and two for people.

    Raises TopologyError and SettingsError as `declared_by` does.
    """
    root = find_root(Path.cwd())
    programs = chosen(read_manifest(root / NAME), ())
    asked = await asyncio.gather(*(durables_of(program, root) for program in programs))
    services = [
        service_identity(p.name, specs, **asdict(p.broker))
        for p, specs in zip(programs, asked, strict=True)
    ]
    return [provisioner(), operator(), *services]


def chosen(manifest: Manifest, services: Sequence[str]) -> list[Program]:
    """Return the programs of these names, or all. Raises SettingsError for an unknown one."""
    if unknown := set(services) - manifest.programs.keys():
        raise SettingsError(f"{NAME} has no service {', '.join(sorted(unknown))}")
    return [p for name, p in manifest.programs.items() if not services or name in services]


async def durables_of(program: Program, root: Path) -> list[DurableSpec]:
    """Ask a program what it listens to; for one in another language seaway.toml says it.

    Raises TopologyError if it does not tell.
    """
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
