"""Three brokers that are one: a JetStream cluster on the loopback address, with a store each.

async with nats_cluster() as cluster:           # formed: streams can be made
    await cluster.servers["n1"].kill()
    cluster.part("n2")                          # n2 and the others hear nothing of each other
    cluster.heal()
    await cluster.caught_up("USERS")            # one more may be killed or cut off
"""

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import permutations
from pathlib import Path

from processes import free_ports
from proxy import Proxy
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from seaway.testing.nats_server import NatsServer
from waiting import until

# Each broker dials the others through proxies. It must not tell where it can be reached
# directly, nor keep connections in reserve that the other side may have dialled.
CONFIG = """\
server_name: "{name}"
cluster {{
  name: "seaway-test"
  listen: "127.0.0.1:{port}"
  advertise: "127.0.0.1:1"
  pool_size: -1
  routes: [{routes}]
}}
"""
ELECTED_WITHIN = 120.0
CAUGHT_UP_WITHIN = 300.0
"""A follower that was cut off may lack something for more than a minute: docs/operate.md."""


class Cluster:
    """Servers by name, who leads what, and the links between them."""

    def __init__(self, servers, links):
        self.servers = servers
        self.links = links
        """By (name, name): who dials, and whom."""

    @property
    def url(self):
        """All addresses: whoever is given them finds one that runs."""
        return ",".join(server.url for server in self.servers.values())

    async def formed(self):
        """Return when streams can be made."""
        async with JetStream(self.url, "starting") as broker:
            await broker.connected()
            await until(lambda: _has_leader(broker), ELECTED_WITHIN)

    async def leader(self, stream, among=None):
        """Return the name of the server that leads a stream, as these see it; waits for one."""
        found = ""

        async def led():
            nonlocal found
            try:
                said = await broker.connection.ask(f"STREAM.INFO.{stream}")
            except BrokerUnavailable:
                return False
            found = said.get("cluster", {}).get("leader", "")
            return bool(found)

        asked = ",".join(self.servers[name].url for name in among or self.servers)
        async with JetStream(asked, "leader") as broker:
            await broker.connected()
            await until(led, ELECTED_WITHIN)
        return found

    async def lead_from_elsewhere(self, stream):
        """Have another server lead a stream."""
        before = await self.leader(stream)

        async def moved():
            with suppress(BrokerUnavailable):
                await broker.connection.ask(f"STREAM.LEADER.STEPDOWN.{stream}")
            return await self.leader(stream) != before

        async with JetStream(self.url, "leader") as broker:
            await broker.connected()
            await until(moved, ELECTED_WITHIN)

    async def caught_up(self, stream):
        """Return when each server has all of a stream and of its durables.

        Two of three can go on without the third only if one of them did not still lack something.
        """

        async def complete():
            try:
                led = [await broker.connection.ask(f"STREAM.INFO.{stream}")]
                durables = await broker.connection.ask(f"CONSUMER.LIST.{stream}")
            except BrokerUnavailable:
                return False
            led += durables.get("consumers", ())
            return not durables.get("missing") and all(map(self._has_all, led))

        async with JetStream(self.url, "caught-up") as broker:
            await broker.connected()
            await until(complete, CAUGHT_UP_WITHIN)

    def _has_all(self, led):
        """Whether a leader tells of itself and of all the others that they are current."""
        group = led.get("cluster", {})
        current = [replica["current"] for replica in group.get("replicas", ())]
        return bool(group.get("leader")) and current == [True] * (len(self.servers) - 1)

    def part(self, name, *, at_once=False):
        """Cut one off from the others: silently, or so that both ends learn of it at once."""
        for pair, link in self.links.items():
            if name in pair:
                link.shut() if at_once else link.hold()

    def heal(self):
        """Let all of them hear each other again."""
        for link in self.links.values():
            link.heal()
            link.open()

    @property
    def trouble(self):
        """How often the links kept something back, or were cut."""
        return sum(link.held + link.resets for link in self.links.values())


@asynccontextmanager
async def brokers(size=3):
    """Servers that know of each other and are not started. They are killed at the end."""
    names = [f"n{number}" for number in range(1, size + 1)]
    ports = dict(zip(names, free_ports(size), strict=True))
    async with AsyncExitStack() as stack:
        links = {
            pair: await stack.enter_async_context(Proxy(ports[pair[1]]))
            for pair in permutations(names, 2)
        }
        servers = {}
        for name, port in ports.items():
            told = [link.port for (dials, _), link in links.items() if dials == name]
            routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in told)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"seaway-{name}-"))
            more = CONFIG.format(name=name, port=port, routes=routes)
            servers[name] = NatsServer(Path(folder), more)
            stack.push_async_callback(servers[name].kill)
        yield Cluster(servers, links)


@asynccontextmanager
async def nats_cluster(size=3):
    """Run one; it is there when streams can be made."""
    async with brokers(size) as cluster:
        for server in cluster.servers.values():
            await server.start()
        await cluster.formed()
        yield cluster


async def _has_leader(broker):
    try:
        said = await broker.connection.ask("INFO")
        await broker.streams()
    except BrokerUnavailable:
        return False
    return "error" not in said
