"""Write what each may do at the broker: `python deploy/helm/permissions.py [--check]`.

Helm cannot ask the contracts and the services, so for the chart it is committed, and a test sees
that it is what `seaway topology permissions` would say. Who runs only in development is left out.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from seaway.commands.programs import identities
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.topology.permissions import Identity

HERE = Path(__file__).parent
FILE = HERE / "backbone/files/permissions.yaml"
HEAD = "# Written by deploy/helm/permissions.py, from the contracts and seaway.toml.\n"
ONLY_IN_DEVELOPMENT = {"mail-catcher", "fake-crm"}


def text(known: Iterable[Identity]) -> str:
    """Return the file: who may publish and subscribe to what, and what each stream reserves."""
    streams = {DEAD, *(address_of(type_).stream for type_ in installed_types().values())}
    reserved = {stream.name: stream.max_bytes for stream in streams}
    lines = ["streams:", *(f"  {name}: {reserved[name]}" for name in sorted(reserved))]
    lines.append("identities:")
    for identity in sorted(known, key=lambda one: one.name):
        if identity.name not in ONLY_IN_DEVELOPMENT:
            lines += _lines(identity)
    return HEAD + "\n".join(lines) + "\n"


def _lines(identity: Identity) -> list[str]:
    kinds = {"publish": identity.publish, "subscribe": identity.subscribe}
    lines = [f"  {identity.name}:"]
    for kind, subjects in kinds.items():
        lines += [f"    {kind}:", *(f"      - {json.dumps(subject)}" for subject in subjects)]
    return lines


def main() -> int:
    """Write it, or say whether it is as it would be written."""
    with contextlib.chdir(HERE.parents[1]):
        written = text(asyncio.run(identities()))
    if "--check" in sys.argv:
        return int(FILE.read_text() != written)
    FILE.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
