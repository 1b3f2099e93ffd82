"""The images that compose.yaml names, and a broker and a database in containers."""

import asyncio
import os
import re
import socket
import time
from contextlib import asynccontextmanager, suppress
from itertools import count

import yaml
from locks import ROOT
from postgresql import free_port
from testcontainers.core.container import DockerContainer
from waiting import until

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
READY_WITHIN = 60.0
USER, PASSWORD = "postgres", "only-here"


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
        self.port, monitor = free_port(), free_port()
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


class PostgreSQLContainer:
    """A PostgreSQL in a container, on this machine's own loopback; its data end with it."""

    def __init__(self):
        self.port = free_port()
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "max_connections=200")
        self._container = (
            DockerContainer(image_of("postgres"))
            .with_env("POSTGRES_USER", USER)
            .with_env("POSTGRES_PASSWORD", PASSWORD)
            .with_command([part for setting in settings for part in ("-c", setting)])
            .with_kwargs(network_mode="host")
        )
        self._names = count(1)

    def __enter__(self):
        self._container.start()
        deadline = time.monotonic() + READY_WITHIN
        # While the official image sets it up, it is on no network.
        while self._run("pg_isready").exit_code != 0:
            if time.monotonic() > deadline:
                said = self._container.get_wrapped_container().logs().decode()
                self._container.stop()
                raise TimeoutError(said)
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self._container.stop()

    def new_database(self):
        """Return the URL of an empty database."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql+asyncpg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement, database="postgres"):
        """Run a statement as the superuser; return what it prints."""
        ran = self._run("psql", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement)
        if ran.exit_code != 0:
            raise RuntimeError(ran.output.decode())
        return ran.output.decode()

    def _run(self, program, *arguments):
        to = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        engine = self._container.get_wrapped_container()
        return engine.exec_run([program, *to, *arguments], environment={"PGPASSWORD": PASSWORD})
