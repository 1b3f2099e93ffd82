"""F: what changes with size: messages that are stored already, consumers, copies of the stream."""

import tempfile
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from a_consume import OURS, Setting, consumed
from acme.users.v1 import UserAddedToCrm
from broker import AT_ONCE, client_of
from cluster import Cluster
from processes import free_ports
from programs import resident
from rounds import Figure, Sample, interleaved
from seaway import Envelope
from seaway.testing.nats_server import NatsServer

ROUNDS = 3
KEPT = 0.9
"""Of the throughput with few messages, at a million."""
REPLICAS = (1, 2, 3)
COPIES = 3
CONFIG = """\
server_name: "{name}"
cluster {{
  name: "seaway-bench"
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
}}
"""


async def history(number, memory, server, broker):
    """Store so many messages that nobody waits for; note what memory the broker has then."""
    for start in range(0, number, AT_ONCE):
        bodies = [told() for _ in range(min(AT_ONCE, number - start))]
        await broker.publish([Envelope.opening(body, "bench").posting() for body in bodies])
    memory.append(Sample(resident(server.pid)))


def told():
    body = UserAddedToCrm(request_id=str(uuid.uuid4()), user_id=str(uuid.uuid4()))
    body.at.GetCurrentTime()
    return body


@asynccontextmanager
async def three_servers():
    """Run a cluster on one disk, its stream in three copies; yield a server and a client."""
    ports = dict(zip(("n1", "n2", "n3"), free_ports(3), strict=True))
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
    async with AsyncExitStack() as stack:
        servers = {}
        for name, port in ports.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="seaway-bench-"))
            more = CONFIG.format(name=name, port=port, routes=routes)
            servers[name] = NatsServer(Path(folder), more)
            stack.push_async_callback(servers[name].kill)
            await servers[name].start()
        await Cluster(servers, {}).formed()
        url = Cluster(servers, {}).url
        broker = await stack.enter_async_context(client_of(url, COPIES))
        yield servers["n1"], broker


async def story(plan, stores, say):
    """Yield throughput and memory by size."""
    rounds = min(plan.rounds, ROUNDS)
    consume = partial(consumed, OURS, plan.requests, stores, "postgresql")
    memory = {stored: [] for stored in plan.stored}
    settings = {
        **{f"stored_{n}": Setting(before=partial(history, n, memory[n])) for n in plan.stored},
        **{f"replicas_{n}": Setting(consumers=n) for n in REPLICAS},
        f"copies_{COPIES}": Setting(broker=three_servers, copies=COPIES),
    }
    say(f"F: {plan.requests:,} requests in front of user_creation, in a system that has grown")
    sides = {name: partial(consume, setting) for name, setting in settings.items()}
    samples = await interleaved(sides, rounds, say, within=plan.patience, warm_up=0)
    least = f"stored_{min(plan.stored)}"
    for stored in plan.stored:
        name = f"stored_{stored}"
        yield Figure(f"F.{name}", "outcomes/s", samples[name], samples[least], KEPT)
        yield Figure(f"F.broker.{name}", "MB", memory[stored])
    for name in (*(f"replicas_{n}" for n in REPLICAS[1:]), f"copies_{COPIES}"):
        yield Figure(f"F.{name}", "outcomes/s", samples[name], samples["replicas_1"])
