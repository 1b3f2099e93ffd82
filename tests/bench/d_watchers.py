"""D: many who watch: what each costs in memory, and how long it takes until they are told."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from uuid import uuid4

from development import environment
from programs import Failed, resident, stop
from rounds import Figure, Sample, interleaved
from sides import loaded, ours

WATCHING = str(Path(__file__).with_name("watching.py"))
RATE = 200.0
KILOBYTES = 40.0
DELIVERED = 250.0
"""Milliseconds from the moment when a message is stored until 99 in 100 have been told."""
OPEN_WITHIN = 300.0
SETTINGS = {"SEAWAY_STREAM_SECONDS": "900"}


async def watched(side, count, delays):
    """Kilobytes of the gateway for each open stream; how late each was told is added to delays."""
    before = resident(side.pids["gateway"])
    told = {"target": side.target, "count": count, "seed": str(uuid4())}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, WATCHING, json.dumps(told)),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(OPEN_WITHIN):
            if await process.stdout.readline() != b"open\n":
                raise Failed("the watchers ended before all of them watched")
        each = 1000 * (resident(side.pids["gateway"]) - before) / count
        load = {"rate": RATE, "seconds": 2 * count / RATE, "seed": told["seed"], "most": count}
        signed_up = await loaded(side, **load)
        if signed_up["done"] != count:
            raise Failed(f"{count - signed_up['done']} of {count} did not sign up: {signed_up}")
        async with asyncio.timeout(OPEN_WITHIN):
            seen = json.loads(await process.stdout.readline())
    except TimeoutError:
        raise Failed(f"{count} watchers: not told within {OPEN_WITHIN:g} s") from None
    finally:
        await stop(process)
    notes = ["the watchers were the limit"] if seen["cpu"] > 0.9 else []
    wrong = [f"{seen['heard']} updates of {2 * count}"] if seen["heard"] != 2 * count else []
    delays.append(Sample(seen["delays"]["p99"], notes=notes, wrong=wrong))
    return Sample(each, notes=notes, wrong=wrong)


async def story(plan, stores, say):
    """Yield memory for each watcher, and the delay of delivery."""
    say(f"D: {plan.watchers:,} watchers, {RATE:g} sign-ups a second")
    delays, rounds = [], min(plan.rounds, 3)
    async with ours(stores, **SETTINGS) as side:
        measures = {"watchers": partial(watched, side, plan.watchers, delays)}
        samples = await interleaved(
            measures, rounds, say, within=plan.patience, warm_up=0, unit="kB each"
        )
    # What it once took a process does not give back: only the first round tells.
    yield Figure(
        "D.memory", "kB each", samples["watchers"][:1], target=KILOBYTES, less_is_better=True
    )
    yield Figure("D.delivery.p99", "ms", delays, target=DELIVERED, less_is_better=True)
