"""The folder `.seaway/`: what a development system keeps, and that only one uses it."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import psutil

from seaway.errors import SeawayError

NAME = ".seaway"
LOCK = "dev.lock"
SOCKET = "dev.sock"
PATIENCE = 6.0
"""How long the watcher of a killed `seaway dev` may take to clean up."""


class InUse(SeawayError):
    """Another `seaway dev` runs in this folder."""


@contextmanager
def sole_use(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, and yield its file descriptor. Raises InUse.

    The kernel gives the lock back when the last process that has the file open is gone.
    """
    folder.mkdir(exist_ok=True)
    with (folder / LOCK).open("a+", encoding="ascii") as lock:
        _acquire(lock, folder)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock.fileno()


def clear(folder: Path) -> None:
    """Remove everything in the folder, except the lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _acquire(lock: TextIO, folder: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(lock)
            if time.monotonic() > give_up or (holder and psutil.pid_exists(holder)):
                raise InUse(
                    f"another seaway dev (process {holder or 'unknown'}) runs in {folder.parent}; "
                    "stop it first, or work in another clone with --port-offset"
                ) from error
        # Its watcher still holds the lock: it is killing what was left.
        time.sleep(0.02)


def _holder(lock: TextIO) -> int:
    lock.seek(0)
    line = lock.read().strip()
    return int(line) if line.isdigit() else 0
