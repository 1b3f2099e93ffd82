"""A service as a process of its own, started, killed at a named point, and stopped."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from seaway.errors import SeawayError
from seaway.failpoints import KILLED
from seaway.settings import PREFIX

STOP_WITHIN = 25.0
LINES = 40
"""How much of its log an error shows."""


class ServiceProcess:
    """One service as its own process, on any free metrics port. What it says is kept.

    `command` is that of `seaway.toml`: "python" is the Python that runs the test. It sees our
    environment without our settings of Seaway, and `settings`. It runs in `folder`, where its log
    is kept too, unless another place is given.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, str],
        folder: Path,
        log: Path | None = None,
    ) -> None:
        program, *arguments = command
        self._command = (sys.executable if program == "python" else program, *arguments)
        ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = {**ours, f"{PREFIX}METRICS_PORT": "0", **settings}
        self._folder = folder
        self._log = log or folder / f"{id(self)}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def said(self) -> str:
        """All that it has written to stdout and stderr, since the first start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def ended(self) -> bool:
        """Whether it has been started and has ended by itself."""
        return self._process is not None and self._process.returncode is not None

    async def call(self, *arguments: str) -> None:
        """Run one of its sub-commands, such as "prepare". Raises SeawayError if that fails."""
        await self.start(*arguments)
        assert self._process is not None
        if code := await self._process.wait():
            raise self.error(f"{' '.join(arguments)} ended with {code}")

    async def start(self, *arguments: str, crash_at: str = "") -> None:
        """Start it, to die where `crash_at` says (`U3`, `U3:2`); return at once."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                cwd=self._folder,
                env={**self._environment, f"{PREFIX}CRASH_AT": crash_at},
                stdout=log,
                stderr=log,
            )

    async def crashed(self, point: str, within: float = 60.0) -> None:
        """Return when it has died at this point.

        Raises SeawayError, with the end of its log, if it ends in another way or not at all.
        """
        assert self._process is not None
        try:
            async with asyncio.timeout(within):
                code = await self._process.wait()
        except TimeoutError:
            raise self.error(f"did not come by {point} within {within} s") from None
        if code != KILLED or self.said.splitlines()[-1:] != [f"crashed at {point}"]:
            raise self.error(f"ended with {code}, and not at {point}")

    async def stop(self) -> None:
        """Let it finish what is in hand and end; kill it if it takes too long."""
        if self._process is None or self.ended:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.send(number)
            if await self.exit_code(STOP_WITHIN) is not None:
                return

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and not self.ended:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def exit_code(self, within: float) -> int | None:
        """Return with what it ended, negative for a signal; None if it runs on for so long."""
        assert self._process is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                return await self._process.wait()
        return None

    def error(self, what: str) -> SeawayError:
        """Return what went wrong with it, and the end of its log."""
        end = "\n".join(self.said.splitlines()[-LINES:])
        return SeawayError(f"{' '.join(self._command)} {what}:\n{end}")
