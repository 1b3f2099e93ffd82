"""Other people's images and ours, as compose.yaml names them, and a broker in a container."""

import asyncio
import os
import re
import socket
from contextlib import asynccontextmanager, suppress

import yaml
from brokers import Real
from locks import ROOT
from processes import free_ports
from testcontainers.core.container import DockerContainer
from waiting import until

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
READY_WITHIN = 60.0


def image_of(service):
    """The image of a service of compose.yaml: what the environment says, or the official one."""
    named = COMPOSE["services"][service]["image"]
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda it: os.environ.get(it[1], it[2]), named)


class NatsContainer:
    """A broker in a container, set up as in compose.yaml; it can do what a NatsServer can.

    It is on this machine's own loopback: the engine's proxy would take connections for a broker
    that is not there, and close them.
    """

    def __init__(self):
        self.port, monitor = free_ports(2)
        at = ["--addr", "127.0.0.1", "--port", str(self.port), "--http_port", str(monitor)]
        config = ROOT / COMPOSE["configs"]["nats"]["file"]
        self._container = (
            DockerContainer(image_of("nats"))
            .with_command([*COMPOSE["services"]["nats"]["command"], *at])
            .with_volume_mapping(config, "/etc/nats/nats.conf")
            .with_kwargs(network_mode="host")
        )

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    async def start(self):
        await asyncio.to_thread(self._container.start)
        await until(self._answers, READY_WITHIN)

    async def end(self):
        await asyncio.to_thread(self._container.stop)

    async def kill(self):
        await asyncio.to_thread(self._engine.kill)

    async def restart(self):
        await asyncio.to_thread(self._engine.start)
        await until(self._answers, READY_WITHIN)

    def pause(self):
        self._engine.pause()

    def resume(self):
        self._engine.unpause()

    @property
    def _engine(self):
        return self._container.get_wrapped_container()

    def _answers(self):
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as there:
            return there.recv(4) == b"INFO"
        return False


@asynccontextmanager
async def nats_container():
    """Run a broker in a container that ends with the context, and its store with it."""
    server = NatsContainer()
    try:
        await server.start()
        yield server
    finally:
        await server.end()


class Contained(Real):
    """A broker in a container. Its clients end with it."""

    server_of_its_own = staticmethod(nats_container)
