"""The broker of `seaway dev`: the nats-server that came with the installation."""

import sys
from pathlib import Path

from seaway.dev.ports import Ports

CONFIG = """\
# Written by `seaway dev` at each start; changes here are lost.
server_name: seaway-dev
listen: "127.0.0.1:{nats}"
http: "127.0.0.1:{monitor}"
max_payload: 128KB         # a stream takes 64 KB, and a dead letter needs headers on top
max_connections: 200
max_subscriptions: 2000
max_control_line: 4KB
max_pending: 16MB
write_deadline: "5s"
ping_interval: "10s"
ping_max: 2
logtime: false
jetstream {{
  store_dir: "{store}"
  max_file: 32GB           # streams reserve their max_bytes of it
  max_mem: 64MB
  sync_interval: always    # what was acknowledged survives a power cut (docs/decisions)
}}
"""


def write_config(folder: Path, ports: Ports, more: str = "") -> Path:
    """Write the broker's configuration, and `more`, into the folder; its data will lie there."""
    path = folder / "nats.conf"
    store = (folder / "nats").as_posix()
    path.write_text(CONFIG.format(nats=ports.nats, monitor=ports.monitor, store=store) + more)
    return path


def server_command(config: Path) -> tuple[str, ...]:
    """Return what starts the nats-server that was installed beside this Python."""
    return (str(Path(sys.executable).with_name("nats-server")), "-c", str(config))


def is_worth_showing(line: str) -> bool:
    """Whether somebody who works on a service wants to see this line of the broker's log."""
    ours = "Healthcheck failed"  # our own question, asked before it was ready
    return "[INF]" not in line and ours not in line
