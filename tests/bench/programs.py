"""Programs that are measured: each a process of its own that ends with its context."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from development import ending_with_us, environment

PEERS = Path(__file__).parent / "peers"
STOP_WITHIN = 30.0


class Failed(Exception):
    """Something is broken: there is no figure to report."""


@asynccontextmanager
async def running(command, settings, folder):
    """Run a Python program; yield its process. The kernel ends it if the bench is killed."""
    log = folder / f"{Path(command[-1]).stem}.log"
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *ending_with_us("KILL"),
            sys.executable,
            *command,
            env={**environment(), **settings},
            cwd=folder,
            stdout=said,
            stderr=said,
        )
    try:
        yield process
        if process.returncode is not None:
            raise Failed(f"{command} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    finally:
        await stop(process)


async def stop(process):
    """Let it finish, and kill it if it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await process.wait()


async def call(command, settings, folder):
    """Run a Python program to its end. Raises Failed if it fails."""
    process = await asyncio.create_subprocess_exec(
        *ending_with_us("KILL"),
        sys.executable,
        *command,
        env={**environment(), **settings},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await process.communicate()
    finally:
        await stop(process)
    if process.returncode != 0:
        raise Failed(f"{command} ended with {process.returncode}:\n{complained.decode()[-3000:]}")
    return said.decode()


def cpu_seconds(pid):
    """What a process and its children have used up to now, those included that have ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    used = 0.0
    for each in family:
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


class Used:
    """CPU seconds of some processes, by name, from now on."""

    def __init__(self, pids):
        self._pids = dict(pids)
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def per_thousand(self, count):
        """CPU seconds for each thousand of what was done."""
        since = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
        return {name: round(1000 * used / max(count, 1), 3) for name, used in since.items()}


def resident(pid):
    """Megabytes of memory that a process has, without its children."""
    return psutil.Process(pid).memory_info().rss / 1e6
