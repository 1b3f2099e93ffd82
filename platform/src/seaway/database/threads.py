"""The threads in which SQLite works: nobody waits for one for ever, and none outlives its loop."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite

ENDED_WITHIN = 6.0
"""Seconds in which a thread ends that was told to: what it waits for, `busy_timeout` limits."""


class Threaded(aiosqlite.Connection):
    """A connection whose thread ends once.

    Somebody who is cut off while he closes it closes it by force. The first one then tells a
    thread to end that is no more, and would wait for ever for its answer: he gets none.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self.thread = self._thread
        self.thread.daemon = True  # a statement that never ends does not hold up the process

    def stop(self) -> asyncio.Future[None] | None:
        """Tell the thread to end, after what it has still to do."""
        return super().stop() if self._running else None


class Threads:
    """Makes connections, and knows the threads in which they work."""

    def __init__(self) -> None:
        self._all: WeakSet[Thread] = WeakSet()

    def connect(self, path: str, **options: Any) -> Threaded:
        """Return a connection that is not open yet."""
        connection = Threaded(partial(sqlite3.connect, path, **options))
        self._all.add(connection.thread)
        return connection

    async def ended(self) -> None:
        """Wait until all have ended. They tell their loop what they did, so it must be there."""
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        latest = time.monotonic() + ENDED_WITHIN
        for thread in tuple(self._all):
            thread.join(max(0.0, latest - time.monotonic()))
