"""The sides of B: each a system that takes sign-ups, ready to be loaded."""

import asyncio
import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import Processes, free_ports
from programs import PEERS, Failed, Used, call, running
from rounds import Sample
from stores import count, our_users

LOAD = str(Path(__file__).with_name("load.py"))
READY_WITHIN = 60.0


@dataclass
class Side:
    """Where it is reached, in which form, and who does its work."""

    form: str
    target: str
    pids: dict[str, int]
    url: str
    table: str

    async def rows(self):
        """How many users there are."""
        return await count(self.url, self.table)


@asynccontextmanager
async def ours(stores, **options):
    """A gateway, a user_creation and a broker, on PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="seaway-bench-") as name:
        url = stores.new("postgresql", name)
        async with Processes(Path(name), url, **options) as system:
            pids = {
                "gateway": system.gateways[0].process.pid,
                "user_creation": system.workers[0].process.pid,
                "broker": system.server.pid,
                "postgresql": stores.pid,
            }
            target = f"127.0.0.1:{system.grpc_ports[0]}"
            yield Side("stream", target, pids, url, our_users(url))


@asynccontextmanager
async def peer(stores, program, form):
    """One server of a peer, on PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="seaway-bench-") as name:
        url, port = stores.new("postgresql", name), free_ports(1)[0]
        settings = {"BENCH_DATABASE": url, "BENCH_PORT": str(port)}
        async with running((str(PEERS / f"{program}.py"),), settings, Path(name)) as process:
            await listening(process, port)
            pids = {program: process.pid, "postgresql": stores.pid}
            yield Side(form, f"127.0.0.1:{port}", pids, url, "users")


async def listening(process, port):
    """Wait until somebody takes connections there. Raises Failed if that will not be."""
    async with asyncio.timeout(READY_WITHIN):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return writer.close()
    raise Failed(f"a peer ended with {process.returncode} before it took connections")


async def loaded(side, **load):
    """Load a side from another process; return what that process saw."""
    told = {"form": side.form, "target": side.target, **load}
    return json.loads(await call((LOAD, json.dumps(told)), {}, Path.cwd()))


async def measured(side, **load):
    """Load a side, and check its table; return the sample of its throughput, and what was seen."""
    before, used = await side.rows(), Used(side.pids)
    seen = await loaded(side, **load)
    cpu = {**used.per_thousand(seen["done"]), "load": 1000 * seen["cpu"] * seen["elapsed"]}
    cpu["load"] = round(cpu["load"] / max(seen["done"], 1), 3)
    added = await side.rows() - before
    notes = ["the load was the limit"] if seen["was_the_limit"] else []
    notes += [f"{seen['again']} asked to try again"] if seen["again"] else []
    return Sample(seen["rate"], cpu, notes, wrong(seen, added)), seen


def wrong(seen, added):
    """What does not add up."""
    notes = [f"{number} failed with {name}" for name, number in seen["failed"].items()]
    confirmed = seen["done"] + seen["before"]
    if added < confirmed:
        notes.append(f"{confirmed} confirmed, and only {added} rows")
    return notes
