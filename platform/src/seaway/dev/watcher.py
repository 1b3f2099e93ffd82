"""Kills what `seaway dev` leaves behind, should it die without stopping its children.

It holds the reading end of a pipe whose other end only `seaway dev` holds, so the end of the
file means that `seaway dev` is gone, however it went. Until then it reads the process groups
that are started (`+123`) and that have ended (`-123`).

Run as a script, by its path: importing the package would take longer than everything it does.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

MARK = "SEAWAY_DEV"
"""The variable by which a child, and whatever it starts, is known."""


def main() -> None:
    """Wait for the end of the file, then kill until nothing is left."""
    token = sys.argv[1]
    groups = read_groups(sys.stdin)
    give_up = time.monotonic() + 5
    while (left := list(survivors(token, groups))) and time.monotonic() < give_up:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def read_groups(lines: Iterable[str]) -> set[int]:
    """Return the process groups that had not ended when the lines did."""
    groups: set[int] = set()
    for line in lines:
        match line[0], int(line[1:]):
            case "+", group:
                groups.add(group)
            case "-", group:
                groups.discard(group)
    return groups


def survivors(token: str, groups: set[int]) -> Iterator[psutil.Process]:
    """Yield every living process of these groups, or marked with the token.

    The mark finds a grandchild in a session of its own, the group a program that has
    overwritten its environment, as some do to change their title.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _is_ours(process, token, groups):
                yield process


def _is_ours(process: psutil.Process, token: str, groups: set[int]) -> bool:
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    if os.getpgid(process.pid) in groups:
        return True
    # Where we may not look, it is none of ours: we started them all as this user.
    return bool(process.environ().get(MARK) == token)


if __name__ == "__main__":
    # Ctrl-C and a closed terminal are for `seaway dev`; what follows from them comes by the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    main()
