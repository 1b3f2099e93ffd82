"""The watcher of `seaway dev`, as the supervisor sees it: see watcher.py."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from seaway.dev import watcher


@dataclass(frozen=True, slots=True)
class Watch:
    """Says which process groups must not outlive this process."""

    token: str
    pipe: IO[bytes]

    def mark(self) -> dict[str, str]:
        """Return the variable that every child must have in its environment."""
        return {watcher.MARK: self.token}

    def began(self, group: int) -> None:
        """Tell of a process group that has just been started."""
        self._tell(f"+{group}\n")

    def ended(self, group: int) -> None:
        """Tell that a process group is no more; its number may be used by others."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # somebody killed the watcher: then nobody watches
            self.pipe.write(line.encode())


@contextmanager
def watching(keep_open: Sequence[int] = ()) -> Iterator[Watch]:
    """Have everything killed that is left when this context or this process ends.

    At the end of the context nothing is left. The watcher keeps the given files open, and with
    them their locks, until it is done.
    """
    token = uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-I", str(Path(watcher.__file__)), token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        pass_fds=keep_open,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None  # for mypy: it is a pipe
        yield Watch(token, process.stdin)
