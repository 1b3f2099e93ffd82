"""A and B once more, every store in memory, where a sync is nothing: what durability costs."""

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import a_consume
import b_end_to_end
from stores import stores

MEMORY = Path("/dev/shm")
CLIENTS = (64,)


@contextmanager
def every_store_in_memory():
    """Have whatever makes a temporary folder make it in memory."""
    before, tempfile.tempdir = tempfile.tempdir, str(MEMORY)
    try:
        yield
    finally:
        tempfile.tempdir = before


async def story(plan, _, say):
    """Yield the figures of A and B, which are no targets of anybody."""
    say("durability off: every store is in memory")
    # Half of A's requests: a peer needs minutes for all of them, and this is not what is claimed.
    plan = replace(plan, clients=CLIENTS, requests=plan.requests // 2)
    with every_store_in_memory(), stores() as databases:
        for each in (a_consume.story, b_end_to_end.story):
            async for figure in each(plan, databases, say):
                yield replace(figure, name=f"off.{figure.name}", target=None)
