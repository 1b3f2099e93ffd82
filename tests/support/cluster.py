"""Three brokers that are one: a JetStream cluster on the loopback address, with a store each."""

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from processes import free_ports
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from seaway.testing.nats_server import NatsServer
from waiting import until

CONFIG = """\
server_name: "{name}"
cluster {{
  name: "seaway-test"
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
}}
"""
ELECTED_WITHIN = 30.0


class Cluster:
    """Servers by name, and who leads what."""

    def __init__(self, servers):
        self.servers = servers

    @property
    def url(self):
        """All addresses: whoever is given them finds one that runs."""
        return ",".join(server.url for server in self.servers.values())

    async def leader(self, stream):
        """Return the name of the server that leads a stream; waits for one that runs."""
        found = ""

        async def led():
            nonlocal found
            try:
                said = await broker.connection.ask(f"STREAM.INFO.{stream}")
            except BrokerUnavailable:
                return False
            found = said.get("cluster", {}).get("leader", "")
            return bool(found)

        async with JetStream(self.url, "leader") as broker:
            await broker.connected()
            await until(led, ELECTED_WITHIN)
        return found


@asynccontextmanager
async def nats_cluster(size=3):
    """Run one; it is there when streams can be made."""
    ports = free_ports(size)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    async with AsyncExitStack() as stack:
        servers = {}
        for number, port in enumerate(ports, start=1):
            name = f"n{number}"
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"seaway-{name}-"))
            more = CONFIG.format(name=name, port=port, routes=routes)
            servers[name] = NatsServer(Path(folder), more)
            stack.push_async_callback(servers[name].kill)
            await servers[name].start()
        cluster = Cluster(servers)
        async with JetStream(cluster.url, "starting") as broker:
            await broker.connected()
            await until(lambda: _has_leader(broker), ELECTED_WITHIN)
        yield cluster


async def _has_leader(broker):
    try:
        said = await broker.connection.ask("INFO")
        await broker.streams()
    except BrokerUnavailable:
        return False
    return "error" not in said
