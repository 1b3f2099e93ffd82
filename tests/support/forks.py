"""Services and commands that are forks of a process which has imported them already.

To start Python and import a service takes a processor a second or two, and small fault tests and
crash tests start hundreds: it is most of what they would do. A fork runs the same `__main__`, with
its own arguments, environment, folder and output, and is killed, paused and waited for as any
process. What is timed (`make chaos`, `make bench`) starts as it does at its users'.

    with forking():                                         # tests/conftest.py
        await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", …)    # is a fork
        subprocess.run([SEAWAY, "trace", …], …)                                     # so is this
"""

import asyncio
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE, STDOUT
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from coverage import process_startup
from development import SEAWAY, environment
from waiting import until

SERVICES = ("gateway", "user_creation", "welcome_email", "crm")
"""All but the data warehouse: pyarrow and deltalake have threads of their own as soon as they are
imported, and no thread survives a fork."""
LATER = ("seaway.database.migrating", "grpc.aio", "httpx", "seaway.jetstream")
"""What takes long to import, and is as soon as it is needed."""
CLI = "seaway.cli"
COMMANDS = "seaway.commands"
BESIDE = ("perilous",)
"""Programs of tests on a PYTHONPATH of their own that hides nothing of what is imported."""
SAID = {"cwd", "env", "stdout", "stderr"}
"""What is said of a process that a fork can be …"""
SAID_OF_A_COMMAND = {"cwd", "env", "capture_output", "text", "timeout", "check"}
"""… and of one that is run to its end."""
OURS = os.environ.get("PYTHONPATH")
"""With another one a service may be another than the one that is imported."""
READY = b"ready"
LARGEST = 1 << 20
"""Bytes of what is said on the line."""

plainly, plainly_run = asyncio.create_subprocess_exec, subprocess.run


@contextmanager
def forking():
    """Fork what is started meanwhile, if it is a service of ours or the command `seaway`."""
    server = Server()

    async def start(*command, **options):
        if is_service(command, options):
            return await server.fork(command[2:], **options)
        return await plainly(*command, **options)

    def run(command, **options):
        if is_command(command, options):
            return server.run(command, **options)
        return plainly_run(command, **options)

    asyncio.create_subprocess_exec, subprocess.run = start, run
    try:
        yield
    finally:
        asyncio.create_subprocess_exec, subprocess.run = plainly, plainly_run
        server.close()


def is_service(command, options):
    """Whether a fork is the same as what this command starts."""
    match command:
        case [sys.executable, "-m", module, *_] if options.keys() == SAID and heard(options):
            path = options["env"].get("PYTHONPATH")
            return module in BESIDE or (module in SERVICES and path == OURS)
    return False


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


class Server:
    """The process that has imported all services, begun when it is needed first."""

    def __init__(self):
        self._beginning = threading.Lock()
        self._speaking = threading.Lock()
        self._process = None
        self._line = None

    async def fork(self, words, *, cwd, env, stdout, stderr):
        """Start a service; return what stands for its process here."""
        await asyncio.to_thread(self._begin)
        if stdout != PIPE:
            return self._fork(words, cwd, env, stdout.fileno(), stdout.fileno())
        reading, said = os.pipe()
        try:
            return self._fork(words, cwd, env, said, said, reading)
        finally:
            os.close(said)

    def run(self, command, *, cwd, env, timeout, **_):
        """Run a command to its end, as `subprocess.run` does with these options."""
        self._begin()
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as failed:
            words = [CLI, *map(str, command[1:])]
            fork = self._fork(words, cwd, env, told.fileno(), failed.fileno())
            if not fork.ended_within(timeout):
                fork.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout)
            said = []
            for file in (told, failed):
                file.seek(0)
                said.append(file.read())
        return subprocess.CompletedProcess(command, fork.returncode, *said)

    def _fork(self, words, cwd, env, stdout, stderr, reading=None):
        ended, end = os.pipe()
        asked = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
        # Nobody else speaks on the line before its answer: it comes within milliseconds.
        with self._speaking:
            socket.send_fds(self._line, [asked], [stdout, stderr, end])
            pid = int(self._line.recv(LARGEST))
        os.close(end)
        return Fork(pid, ended, reading)

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
                    [sys.executable, __file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment(),
                )
            assert self._line.recv(LARGEST) == READY


class Fork:
    """One that was forked: what a test needs of an `asyncio.subprocess.Process`."""

    def __init__(self, pid, ended, said):
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


def all_of(pipe):
    """Read to its end what is said on a pipe."""
    return b"".join(iter(lambda: os.read(pipe, LARGEST), b""))


def serve(line):
    """Fork whenever somebody asks. Returns in each fork what it is to be, and at the end."""
    commands = iter_modules(import_module(COMMANDS).__path__, f"{COMMANDS}.")
    ours = (*(f"{service}.__main__" for service in SERVICES), *(each.name for each in commands))
    for module in (*ours, *LATER):
        import_module(module)
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "no thread survives a fork"
    running = {}
    line.send(READY)
    with told_of_children() as children:
        while True:
            ready, *_ = select.select([line, children], [], [])
            if children in ready:
                children.recv(LARGEST)
                reap(running)
            if line in ready:
                asked, outputs, *_ = socket.recv_fds(line, LARGEST, 3)
                if not asked:
                    sys.exit()
                pid = os.fork()
                if pid == 0:
                    return json.loads(asked), outputs
                *others, running[pid] = outputs
                for output in others:
                    os.close(output)
                line.send(str(pid).encode())


@contextmanager
def told_of_children():
    """Yield a socket from which something can be read once a child has ended."""
    told, telling = socket.socketpair()
    with told, telling:
        telling.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(telling.fileno())
        try:
            yield told
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def reap(running):
    """Tell of those children that have ended with what they did."""
    for pid in [*running]:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            end = running.pop(pid)
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(end)


def become(asked, outputs):
    """Go on as the service that was asked for, as `python -m` would."""
    for number, output in enumerate(outputs[:2], start=1):
        os.dup2(output, number)
    os.closerange(3, max(outputs) + 1000)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    here = str(Path(__file__).parent)
    beside = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [asked["cwd"], *beside, *(each for each in sys.path if each != here)]
    process_startup()  # measures, if the environment says so
    module, *arguments = asked["words"]
    sys.argv = [module, *arguments]
    for name in (f"{module}.__main__", CLI):
        sys.modules.pop(name, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(*serve(socket.socket(fileno=int(sys.argv[1]))))
