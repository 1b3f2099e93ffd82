"""One program that `seaway dev` runs, and runs again when it ends, until told otherwise."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from seaway.dev.watch import Watch

CONFIGURATION = 78
"""The exit code with which a service says that trying again is of no use."""
NOT_STARTED = 127
BACKOFF = (0.5, 1.0, 2.0, 5.0)
"""Seconds before a crashed child is started again; the last one repeats."""
STEADY = 10.0
"""After so many seconds of running, earlier crashes are forgotten."""
CHUNK = 65536


@dataclass(slots=True)
class Child:
    """A program, and whether it is wanted. Its output goes to `show`, what befalls it to `say`."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    watch: Watch
    show: Callable[[str], None]
    say: Callable[[str], None]
    health: tuple[int, str]
    """The port and path that answer 200 when it is ready."""
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    has_been_ready: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no process of it runs."""
    group: int | None = None
    """The process group that runs now."""

    def __post_init__(self) -> None:
        """Nothing runs yet."""
        self.idle.set()

    async def keep_running(self) -> None:
        """Run it, and again whenever it ends, until `stop`.

        It is given up if it ends before it was ever ready, and for a configuration error.
        """
        crashes = 0
        while not self.unwanted.is_set():
            began = time.monotonic()
            code = await self.run(self.command)
            if self.unwanted.is_set():
                return
            if code == CONFIGURATION or not self.has_been_ready:
                self.unwanted.set()
                self.say(f"{self.name} {ending(code)}; `seaway start {self.name}` tries again")
                return
            crashes = 0 if time.monotonic() - began > STEADY else crashes
            delay = BACKOFF[min(crashes, len(BACKOFF) - 1)]
            crashes += 1
            self.say(f"{self.name} {ending(code)}; starting it again in {delay:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.unwanted.wait(), delay)

    async def run(self, command: Sequence[str]) -> int:
        """Run a command once, to its end, as this child; return its exit code.

        It is negative if a signal ended it.
        """
        # A pipe of our own: asyncio's would make wait() wait for grandchildren, too.
        reading, writing = os.pipe()
        lines = asyncio.create_task(self._relay(reading))
        self.idle.clear()
        try:
            return await self._see_through(await self._spawn(command, writing))
        except OSError as error:
            self.show(f"cannot start {command[0]}: {error.strerror}")
            return NOT_STARTED
        finally:
            self.idle.set()
            # A grandchild in a session of its own may hold the pipe open.
            await asyncio.wait([lines], timeout=0.5)
            lines.cancel()

    async def stop(self, within: float) -> None:
        """End it: ask first, and after `within` seconds force it."""
        self.unwanted.set()
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.idle.wait(), within)
        except TimeoutError:
            self.say(f"{self.name} did not stop within {within:g} s: killed")
            self.signal(signal.SIGKILL)
            await self.idle.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started."""
        if self.group is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)

    async def _spawn(self, command: Sequence[str], output: int) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                start_new_session=True,
            )
        finally:
            os.close(output)

    async def _see_through(self, process: asyncio.subprocess.Process) -> int:
        self.group = process.pid
        self.watch.began(process.pid)
        if self.unwanted.is_set():  # since it was asked for
            self.signal(signal.SIGTERM)
        code = await process.wait()
        self.signal(signal.SIGKILL)  # what it started, and left behind
        self.watch.ended(process.pid)
        self.group = None
        return code

    async def _relay(self, reading: int) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
        )
        rest = b""
        try:
            while chunk := await stream.read(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.show(line.decode(errors="replace"))
            if rest:
                self.show(rest.decode(errors="replace"))
        finally:
            transport.close()


def ending(code: int) -> str:
    """Say how a process ended."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    meaning = {CONFIGURATION: " (configuration)", NOT_STARTED: " (no such program)"}
    return f"ended with exit code {code}{meaning.get(code, '')}"
