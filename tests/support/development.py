"""A whole system as a user starts it: `seaway dev` in a folder of its own, at free ports."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

SEAWAY = str(Path(sys.executable).with_name("seaway"))
PORTS = (4222, 8222, 50051, 8080, 1025, 8081, *range(9101, 9109))
UP = "Everything runs"
GONE_WITHIN = 30.0
"""Seconds, on a machine with much else to do; it is five on one that is idle."""


def ending_with_us(signal_name):
    """What to put before a command, so that the kernel sends it this when we are killed.

    Python could do it between fork and exec. But then it has to fork, and the fork of a process
    in which gRPC is at work may abort before it becomes another.
    """
    return ["setpriv", f"--pdeathsig={signal_name}"]


def environment():
    """Ours, without what would point the commands at another system."""
    others = ("SEAWAY_", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


def seaway(*words, folder=None, within=90.0, **settings):
    """Run a command of `seaway` to its end, as somebody in this folder would."""
    return subprocess.run(
        [SEAWAY, *map(str, words)],
        cwd=folder or Path.cwd(),
        env=environment() | settings,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


WORKERS = 4
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
"""Which of the processes this is that test at once: each takes ports that no other one takes."""


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_offset():
    """An offset at which every port of a system is free.

    All of them then lie outside the range from which the kernel takes ports for clients.
    """
    offsets = random.sample(range(11_000 + 10 * WORKER, 15_000, 10 * WORKERS), k=100)
    return next(o for o in offsets if all(is_free(port + o) for port in PORTS))


def left_of(processes, within=GONE_WITHIN):
    """Those that still run after so many seconds. One that nobody has reaped runs no more."""
    deadline = time.monotonic() + within
    while (left := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Development:
    """One `seaway dev`, and what it has printed so far."""

    def __init__(self, folder, *options, offset=None, output=subprocess.PIPE, **settings):
        self.folder = folder
        self.offset = free_offset() if offset is None else offset
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [SEAWAY, "dev", "--port-offset", str(self.offset), *options],
            cwd=folder,
            env=environment() | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout or ():
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def says(self, words, times=1, within=60.0):
        """Wait for so many lines that hold these words; return the last of them."""

        def said():
            return [line for line in self.lines if words in line]

        with self._changed:
            self._changed.wait_for(lambda: len(said()) >= times or self._ended, within)
            assert len(said()) >= times, f"{words!r} is missing in\n" + "\n".join(self.lines)
            return said()[times - 1]

    def up(self):
        self.says(UP)
        return self

    def port(self, number):
        return number + self.offset

    def send(self, number):
        self.process.send_signal(number)

    def end(self, within=GONE_WITHIN):
        """Wait until it has ended, and return its exit code."""
        return self.process.wait(within)

    def children(self):
        """Every process that it has started, and those started by them, its watcher included."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def seaway(self, *words, **more):
        """Run another command of seaway in the same folder."""
        return seaway(*words, folder=self.folder, **more)

    def close(self):
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
            self.end()
        self._reader.join(GONE_WITHIN)
        if self.process.stdout:
            self.process.stdout.close()
