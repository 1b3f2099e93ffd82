"""E: from `make dev`, with everything installed, to the first CONFIRMED; and the memory."""

import asyncio
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
from development import Development
from gateway.client import Client
from programs import Failed, resident
from rounds import Figure, Sample
from sign_ups import a_request

MANIFEST = Path(__file__).parents[2] / "seaway.toml"
FIRST = 5.0
"""Seconds to the first sign-up."""
MEGABYTES = {"data_warehouse": 300.0}
OTHERS = 150.0
PATIENCE = 120.0


async def started():
    """Start a system in an empty folder; return seconds to CONFIRMED, megabytes by service.

    The memory is of when all of them run.
    """
    with tempfile.TemporaryDirectory(prefix="seaway-bench-") as folder:
        shutil.copy(MANIFEST, folder)
        system = await asyncio.to_thread(Development, Path(folder))
        try:
            client = Client(f"127.0.0.1:{system.port(50051)}", a_request())
            async with asyncio.timeout(PATIENCE):
                updates = [update async for update in client.updates()]
            seconds = time.monotonic() - system.began
            if not updates:
                raise Failed("no update from `seaway dev`")
            await asyncio.to_thread(system.up)  # some services are started only after that
            return seconds, memory(system)
        except TimeoutError:
            raise Failed("`seaway dev` confirms nothing:\n" + "\n".join(system.lines)) from None
        finally:
            await asyncio.to_thread(system.close)


def memory(system):
    """Megabytes of each service, by module."""
    found = {}
    for process in system.children():
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if "-m" in words[:-1]:
            found[words[words.index("-m") + 1]] = resident(process.pid)
    return found


async def story(plan, stores, say):
    """Yield the figures of E."""
    say("E: seaway dev, in an empty folder")
    times, sizes = [], defaultdict(list)
    for number in range(1, plan.rounds + 1):
        seconds, found = await started()
        counts = f"{number} of {plan.rounds}"
        say(f"    {'first CONFIRMED after':<22} {seconds:>10.2f} s          {counts}")
        times.append(Sample(seconds))
        for name, megabytes in found.items():
            sizes[name].append(Sample(megabytes))
    yield Figure("E.first_confirmed", "s", times, target=FIRST, less_is_better=True)
    for name, samples in sizes.items():
        wanted = MEGABYTES.get(name, OTHERS)
        yield Figure(f"E.memory.{name}", "MB", samples, target=wanted, less_is_better=True)
