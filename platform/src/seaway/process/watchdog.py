"""Ends a process whose event loop has stopped turning.

A handler that computes for ever blocks the loop: nothing times out, nothing is kept alive, and
no signal is answered. The broker gives its messages to another worker, which it will block, too,
until the inbox has counted enough killed processes and sets the message aside.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOOK_EVERY = 5.0
MISSES = 6
"""Looks in a row without a turn of the loop: half a minute. A process that was merely paused
misses one."""
FATAL = 1


@asynccontextmanager
async def watchdog(look_every: float = LOOK_EVERY, misses: int = MISSES) -> AsyncIterator[None]:
    """End the process, with its stack on stderr, if the loop does not turn for `misses` looks."""
    turned, over = threading.Event(), threading.Event()

    def watch() -> None:
        missed = 0
        while not over.wait(look_every):
            missed = 0 if turned.is_set() else missed + 1
            turned.clear()
            if missed == misses:
                print("the event loop has stopped turning", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(sys.stderr)
                os._exit(FATAL)

    async def turn() -> None:
        while True:
            turned.set()
            await asyncio.sleep(look_every / 2)

    turning = asyncio.create_task(turn())
    watching = threading.Thread(target=watch, name="watchdog", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        turning.cancel()
        await asyncio.to_thread(watching.join)
