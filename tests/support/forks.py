"""Services and commands that are forks of a process which has imported them already.

To start Python and import a service takes a processor a second or two, and small fault tests and
crash tests start hundreds: it is most of what they would do. A fork runs the same `__main__`, with
its own arguments, environment, folder and output, and is killed, paused and waited for as any
process. Where its start is timed (`make bench`, and tests marked so in `make chaos`) it starts as
it does at its users'.

    with forking():                                         # tests/conftest.py
        await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", …)    # is a fork
        subprocess.run([SEAWAY, "trace", …], …)                                     # so is this
"""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE, STDOUT
from contextlib import contextmanager, suppress
from pathlib import Path

from development import SEAWAY, environment
from fork_server import LARGEST, READY, SERVICES
from waiting import until

CLI = "seaway.cli"
BESIDE = ("perilous",)
"""Programs of tests on a PYTHONPATH of their own that hides nothing of what is imported."""
SAID = {"cwd", "env", "stdout", "stderr"}
"""What is said of a process that a fork can be …"""
SAID_OF_A_COMMAND = {"cwd", "env", "capture_output", "text", "timeout", "check"}
"""… and of one that is run to its end."""
PROGRAM = Path(__file__).with_name("fork_server.py")
OURS = os.environ.get("PYTHONPATH")
"""With another one a service may be another: then another process has imported it."""

plainly, plainly_run = asyncio.create_subprocess_exec, subprocess.run
popen = subprocess.Popen
"""Starts what a thread waits for: a fork, where there are any."""


@contextmanager
def forking():
    """Fork what is started meanwhile, if it is a service of ours or the command `seaway`."""
    global popen
    servers = Servers()

    async def start(*command, **options):
        if is_service(command, options):
            return await servers[imported(command, options)].fork(command[2:], **options)
        return await plainly(*command, **options)

    def run(command, **options):
        if is_command(command, options):
            return servers[OURS].run(command, **options)
        return plainly_run(command, **options)

    def begin(command, **options):
        if is_service(command, options):
            return servers[imported(command, options)].begin(command[2:], **options)
        return subprocess.Popen(command, **options)

    asyncio.create_subprocess_exec, subprocess.run, popen = start, run, begin
    try:
        yield
    finally:
        asyncio.create_subprocess_exec, subprocess.run = plainly, plainly_run
        popen = subprocess.Popen
        for server in servers.values():
            server.close()


@contextmanager
def not_forking():
    """Start meanwhile what is started as it does at its users', within `forking` as well."""
    global popen
    forks = asyncio.create_subprocess_exec, subprocess.run, popen
    asyncio.create_subprocess_exec, subprocess.run = plainly, plainly_run
    popen = subprocess.Popen
    try:
        yield
    finally:
        asyncio.create_subprocess_exec, subprocess.run, popen = forks


def is_service(command, options):
    """Whether a fork is the same as what this command starts."""
    match command:
        case [sys.executable, "-m", module, *_] if options.keys() == SAID and heard(options):
            return module in (*BESIDE, *SERVICES, CLI)
    return False


def imported(command, options):
    """The PYTHONPATH on which its service was imported."""
    return OURS if command[2] in BESIDE else options["env"].get("PYTHONPATH")


def is_command(command, options):
    """Whether it is the command `seaway`, of which somebody waits for all that it says."""
    return (
        command[0] == SEAWAY
        and options.keys() == SAID_OF_A_COMMAND
        and options["env"].get("PYTHONPATH") == OURS
    )


def heard(options):
    """Whether all that it says goes to one place, a file or whoever waits for its end."""
    stdout, stderr = options["stdout"], options["stderr"]
    return (stdout == PIPE and stderr == STDOUT) or (
        hasattr(stdout, "fileno") and stderr is stdout
    )


class Servers(dict):
    """One for each PYTHONPATH."""

    def __missing__(self, path):
        self[path] = Server(path)
        return self[path]


class Server:
    """A process that has imported all services, begun when it is needed first."""

    def __init__(self, path):
        self._path = path
        self._beginning = threading.Lock()
        self._speaking = threading.Lock()
        self._process = None
        self._line = None

    async def fork(self, words, *, cwd, env, stdout, stderr):
        """Start a service; return what stands for its process here."""
        await asyncio.to_thread(self._begin)
        if stdout != PIPE:
            return Fork(*self._fork(words, cwd, env, stdout.fileno(), stdout.fileno()))
        reading, said = os.pipe()
        try:
            return Fork(*self._fork(words, cwd, env, said, said), reading)
        finally:
            os.close(said)

    def begin(self, words, *, cwd, env, stdout, stderr):
        """Start a service; return what a thread can wait for, as a `subprocess.Popen`."""
        self._begin()
        return Waited(*self._fork(words, cwd, env, stdout.fileno(), stdout.fileno()))

    def run(self, command, *, cwd, env, timeout, **_):
        """Run a command to its end, as `subprocess.run` does with these options."""
        self._begin()
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as failed:
            words = [CLI, *map(str, command[1:])]
            fork = Fork(*self._fork(words, cwd, env, told.fileno(), failed.fileno()))
            if not fork.ended_within(timeout):
                fork.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout)
            said = []
            for file in (told, failed):
                file.seek(0)
                said.append(file.read())
        return subprocess.CompletedProcess(command, fork.returncode, *said)

    def _fork(self, words, cwd, env, stdout, stderr):
        ended, end = os.pipe()
        asked = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
        # Nobody else speaks on the line before its answer: it comes within milliseconds.
        with self._speaking:
            socket.send_fds(self._line, [asked], [stdout, stderr, end])
            pid = int(self._line.recv(LARGEST))
        os.close(end)
        return pid, ended

    def close(self):
        """End it. What it has started is the business of those who asked for it."""
        if self._process is not None:
            self._line.close()
            self._process.wait()

    def _begin(self):
        with self._beginning:
            if self._process is not None:
                return
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, PROGRAM, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment() | ({} if self._path is None else {"PYTHONPATH": self._path}),
                )
            assert self._line.recv(LARGEST) == READY


class Fork:
    """One that was forked: what a test needs of an `asyncio.subprocess.Process`."""

    def __init__(self, pid, ended, said=None):
        self.pid = pid
        self._ended = ended
        self._said = said
        self._code = None
        os.set_blocking(ended, False)

    def __del__(self):
        for each in (self._ended, self._said):
            if each is not None:
                os.close(each)

    @property
    def returncode(self):
        """With what it ended, negative for a signal; None while it runs."""
        if self._code is None:
            with suppress(BlockingIOError):
                self._code = int(os.read(self._ended, LARGEST))
        return self._code

    def send_signal(self, number):
        """Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    def ended_within(self, seconds):
        """Wait for its end; say whether it came."""
        if self.returncode is None:
            select.select([self._ended], [], [], seconds)
        return self.returncode is not None

    async def wait(self):
        """Return with what it ended, when it has."""
        await until(lambda: self.returncode is not None, within=86_400)
        return self.returncode

    async def communicate(self):
        """Return all that it says, when it has ended."""
        said = await asyncio.to_thread(all_of, self._said)
        await self.wait()
        return said, None


class Waited(Fork):
    """The same for a `subprocess.Popen`."""

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        """Return with what it ended. Raises TimeoutExpired."""
        if not self.ended_within(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode

    def kill(self):
        """Have it end, if it has not."""
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)


def all_of(pipe):
    """Read to its end what is said on a pipe."""
    return b"".join(iter(lambda: os.read(pipe, LARGEST), b""))
