"""One writer at a time, on one machine."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaway.errors import DependencyDown

LOOK_EVERY = 0.05


@contextmanager
def sole_writer(url: str, patience: float) -> Iterator[None]:
    """Hold the lock beside a local table; in object storage there is none, and none is needed.

    The kernel gives it back when its holder dies. Raises DependencyDown if another writer has
    it for more than `patience` seconds.
    """
    if "://" in url:
        yield
        return
    path = Path(f"{url.rstrip('/')}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        give_up = time.monotonic() + patience
        while not _acquired(lock.fileno()):
            if time.monotonic() > give_up:
                raise DependencyDown(f"another writer has held {path} for {patience:.0f} s")
            time.sleep(LOOK_EVERY)
        yield


def _acquired(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
