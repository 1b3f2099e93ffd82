"""The system as real processes, started and killed: broker, gateways, user-creation."""

import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from development import WORKER, environment, is_free
from nats_servers import nats_server
from waiting import until

READY_WITHIN = 120.0
STILL = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
START_AGAIN_AFTER = 0.1
"""Seconds until a supervisor starts again what has ended."""

UNLIMITED = {
    "SEAWAY_SIGN_UPS_PER_MINUTE": "0",
    "SEAWAY_BACKLOG_SECONDS": "0",
    "SEAWAY_REVEAL_TAKEN": "anybody",
    "SEAWAY_STREAMS_PER_CONNECTION": "5000",
    "SEAWAY_WATCHERS": "0",
    "SEAWAY_WATCHERS_PER_CLIENT": "0",
}
"""A gateway for tests: it takes everybody, however much waits, and hides nothing."""


def free_ports(count):
    """So many ports that are free now, none of which `seaway dev` takes with an offset of ours.

    Nor does another process that tests at the same time, or it would be a race for them.
    """
    first = 24_200 + 2_000 * WORKER
    ports = range(first + os.getpid() % 1_000, first + 2_000)
    return list(islice(filter(is_free, ports), count))


@dataclass
class Program:
    """One service as a process; its log is kept."""

    module: str
    settings: dict[str, str]
    folder: Path
    metrics_port: int
    process: asyncio.subprocess.Process | None = None
    """None while nobody wants it to run."""
    kills: int = 0
    exits: list[int] = field(default_factory=list)

    async def __aenter__(self):
        await self.call("prepare")
        await self.start()
        return self

    async def __aexit__(self, *_):
        if self.process is not None and self.process.returncode is None:
            self.resume()
        await self.stop(signal.SIGKILL)

    @property
    def name(self):
        return f"{self.module}-{self.metrics_port}"

    @property
    def _environment(self):
        ports = {"SEAWAY_METRICS_PORT": str(self.metrics_port), "SEAWAY_WEB_PORT": "0"}
        return {**environment(), **ports, **self.settings}

    async def call(self, *arguments):
        """Run one of its sub-commands to its end. Fails if that fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, *arguments),
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    async def start(self, **settings):
        """Start it, and return at once."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.module),
                cwd=self.folder,
                env={**self._environment, **settings},
                stdout=log,
                stderr=log,
            )

    async def stop(self, number=signal.SIGTERM, within=60.0):
        """Send a signal and wait for the end; return the exit code. Nobody starts it again."""
        process, self.process = self.process, None
        if process is None:
            return None
        with suppress(ProcessLookupError):
            process.send_signal(number)
        async with asyncio.timeout(within):
            code = await process.wait()
        self.exits.append(code)
        return code

    async def kill(self):
        """kill -9, as a machine that goes away would. It stays away until it is started."""
        self.kills += 1
        await self.stop(signal.SIGKILL)

    def strike(self, number=signal.SIGKILL):
        """Send a signal and leave the rest to the supervisor. Says whether there was a process."""
        if self.process is None or self.process.returncode is not None:
            return False
        self.process.send_signal(number)
        self.kills += number == signal.SIGKILL
        return True

    def pause(self):
        """Stop it where it is (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(self.process.pid).status() not in STILL:
                time.sleep(0.001)

    def resume(self):
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def has_ended(self):
        """Whether it ended though it was wanted."""
        return self.process is not None and self.process.returncode is not None

    async def ready(self, within=READY_WITHIN):
        """Wait until it says that it can do its job. Fails with what it says instead."""
        try:
            await until(lambda: asyncio.to_thread(self.is_ready), within, every=0.05)
        except TimeoutError:
            said = await asyncio.to_thread(self.asked, "/readyz")
            raise AssertionError(f"{self.name} is not ready after {within:g} s: {said}") from None

    def is_ready(self):
        """Whether it says now that it can do its job."""
        return self.asked("/readyz")[0] == 200

    def asked(self, path):
        """Return the status and the text of an answer on its metrics port; 0 if there is none."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except URLError as error:
            if hasattr(error, "code"):
                with error:
                    return error.code, error.read().decode()
            return 0, str(error)
        except OSError as error:
            return 0, str(error)

    def text(self):
        """All that it has logged."""
        return (self.folder / f"{self.name}.log").read_text()


@asynccontextmanager
async def supervised(programs):
    """Start again what ends, as an orchestrator does, except what a test itself has stopped."""

    async def keep(program):
        while True:
            await until(lambda: program.has_ended, within=86_400, every=0.02)
            program.exits.append(program.process.returncode)
            await asyncio.sleep(START_AGAIN_AFTER)
            await program.start()

    keeping = [asyncio.create_task(keep(program)) for program in programs]
    try:
        yield
    finally:
        for task in keeping:
            task.cancel()
        ended = await asyncio.gather(*keeping, return_exceptions=True)
        for error in ended:
            if not isinstance(error, asyncio.CancelledError):
                raise error


class Processes:
    """A broker, some gateways and some user-creations, in a folder of their own.

    `server` is the broker, if it is not to be one of their own, and `nats_url` what the services
    are told instead of its URL: the address of a proxy. Each may be a function that is asked once
    for each service, by module and number, so that each service can have a link of its own; so
    may `database_url`.
    """

    def __init__(
        self,
        folder,
        database_url,
        *,
        gateways=1,
        workers=1,
        server=None,
        nats_url=None,
        **settings,
    ):
        self.folder = folder
        self.database_url = database_url
        self.server = server
        ports = free_ports(2 * gateways + workers)
        self.grpc_ports = ports[:gateways]
        self._metrics_ports = ports[gateways:]
        self._nats_url = nats_url
        self._settings = {**UNLIMITED, **settings}
        self.gateways = []
        self.workers = []
        self._open = AsyncExitStack()

    @property
    def programs(self):
        """All services."""
        return [*self.workers, *self.gateways]

    async def __aenter__(self):
        async with AsyncExitStack() as stack:
            if self.server is None:
                self.server = await stack.enter_async_context(nats_server())
            for number, port in enumerate(self.grpc_ports):
                settings = {"SEAWAY_GRPC_PORT": str(port)}
                self.gateways.append(await self._add(stack, "gateway", number, settings))
            for number in range(len(self._metrics_ports)):
                settings = {"SEAWAY_DATABASE_URL": _of(self.database_url, "user_creation", number)}
                self.workers.append(await self._add(stack, "user_creation", number, settings))
            for program in self.programs:
                await program.ready()
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_):
        await self._open.aclose()

    async def _add(self, stack, module, number, settings):
        url = _of(self._nats_url, module, number) or self.server.url
        settings = {**self._settings, "SEAWAY_NATS_URL": url, **settings}
        program = Program(module, settings, self.folder, self._metrics_ports.pop(0))
        return await stack.enter_async_context(program)


def _of(value, module, number):
    return value(module, number) if callable(value) else value
