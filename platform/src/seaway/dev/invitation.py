"""What `seaway dev` prints once everything runs: what is where, and what to try next."""

from collections.abc import Iterator
from pathlib import Path

from seaway.dev.ports import Ports
from seaway.manifest import Manifest, Program


def invitation(manifest: Manifest, ports: Ports, folder: Path, took: float) -> Iterator[str]:
    """Yield its lines; `took` is how many seconds everything needed to become ready."""
    yield ""
    yield f"  Everything runs, after {took:.1f} s. Ctrl-C stops it."
    yield ""
    yield from _table(manifest, ports)
    yield ""
    yield f"  What it keeps lies in {folder.name}/; `seaway dev --fresh` starts over."
    if manifest.invitations:
        yield ""
        yield f"  Now{_open(ports)}, in a second terminal:"
        yield from (f"      {line}" for line in manifest.invitations)
    yield ""


def _open(ports: Ports) -> str:
    web = ports.served.get("web")
    return f" open http://127.0.0.1:{web}/, or" if web else ""


def _table(manifest: Manifest, ports: Ports) -> Iterator[str]:
    monitor = f"monitor http://127.0.0.1:{ports.monitor}"
    rows = [("nats", f"nats://127.0.0.1:{ports.nats}", monitor)]
    rows += [(p.name, _served(p, ports), _metrics(p, ports)) for p in manifest.programs.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, served, more in rows:
        yield f"  {name:<{widths[0]}}  {served:<{widths[1]}}  {more}"


def _served(program: Program, ports: Ports) -> str:
    return ", ".join(f"{name} 127.0.0.1:{ports.served[name]}" for name in program.ports)


def _metrics(program: Program, ports: Ports) -> str:
    metrics = f"http://127.0.0.1:{ports.metrics[program.name]}/metrics"
    settings = " ".join(f"{name}={value}" for name, value in program.environment.items())
    return f"{metrics}  {settings}".rstrip()
