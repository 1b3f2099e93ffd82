"""Which ports `seaway dev` uses, and who has taken one of them."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from seaway.manifest import Manifest

NATS = 4222
MONITOR = 8222
OFFSET = "SEAWAY_PORT_OFFSET"
"""How a command learns where the services of a running `seaway dev` are asked."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of a system on this machine, moved by an offset."""

    offset: int
    nats: int
    monitor: int
    metrics: Mapping[str, int]
    """By service."""
    served: Mapping[str, int]
    """By what is spoken there: grpc, web, smtp."""

    @classmethod
    def of(cls, manifest: Manifest, offset: int) -> "Ports":
        """Return the ports of all services, each moved by the offset."""
        programs = manifest.programs.values()
        return cls(
            offset=offset,
            nats=NATS + offset,
            monitor=MONITOR + offset,
            metrics={p.name: p.metrics_port + offset for p in programs},
            served={k: port + offset for p in programs for k, port in p.ports.items()},
        )

    def by_purpose(self) -> dict[str, int]:
        """Return all of them with words that say what for."""
        metrics = {f"{name}'s metrics": port for name, port in self.metrics.items()}
        return {"NATS": self.nats, "NATS's monitor": self.monitor} | dict(self.served) | metrics

    def environment(self) -> dict[str, str]:
        """Return what a program must be told to find the broker and the served ports."""
        served = {f"SEAWAY_{name.upper()}_PORT": str(port) for name, port in self.served.items()}
        broker = {"SEAWAY_NATS_URL": f"nats://127.0.0.1:{self.nats}", OFFSET: str(self.offset)}
        return broker | served


def offset_of_running() -> int:
    """Return by how much the ports of seaway.toml are moved in the `seaway dev` of this folder."""
    said = os.environ.get(OFFSET, "")
    return int(said) if said.isdecimal() else 0


def is_taken(port: int) -> bool:
    """Whether a program on this machine listens on the port."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return True
    with socket.socket() as probe:
        # As servers do it: connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def holder_of(port: int) -> str:
    """Return who listens on the port, as far as this user may know; empty if not."""
    try:
        pids = [
            c.pid
            for c in psutil.net_connections("tcp")
            if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN and c.pid
        ]
        return f"{psutil.Process(pids[0]).name()}, process {pids[0]}" if pids else ""
    except psutil.Error:
        return ""
