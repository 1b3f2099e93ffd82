"""B, while the database stalls: it is stopped under load, and goes on after ten seconds.

A caller waits five seconds for a first answer. The twin's callers get none; ours are accepted,
and confirmed soon after the database is back.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from time import time

from rounds import Figure, Sample, interleaved
from sides import loaded, ours, peer
from waiting import until

RATE = 50.0
FIRST_ANSWER = 5.0
OUTCOME = 120.0
CONFIRMED = 5.0
"""Seconds after its return in which everybody is confirmed."""
UNDER_LOAD = 10
"""Rows after which the load is there."""


async def story(plan, stores, say):
    """Yield how many calls failed, and how long the last outcome took."""
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(ours(stores))
        twin = await stack.enter_async_context(peer(stores, "twin", "stream"))
        sides = {"ours": (system, OUTCOME), "twin": (twin, FIRST_ANSWER)}
        say(f"stall: PostgreSQL is stopped for {plan.stall:g} s under {RATE:g} sign-ups a second")
        seen = {name: [] for name in sides}
        measures = {
            name: partial(stalled, side, deadline, stores, plan.stall, seen[name])
            for name, (side, deadline) in sides.items()
        }
        await interleaved(
            measures, min(plan.rounds, 3), say, within=plan.patience, warm_up=0, unit="failed"
        )
        failed, last = (
            {name: [Sample(each[what]) for each in rounds] for name, rounds in seen.items()}
            for what in ("failed", "last")
        )
        yield Figure(
            "B.stall.failed", "calls", failed["ours"], failed["twin"], 0.0, less_is_better=True
        )
        yield Figure(
            "B.stall.last_confirmed", "s", last["ours"], target=CONFIRMED, less_is_better=True
        )


async def under_load(side, before, loading):
    """Whether its table grows, or will not any more."""
    return loading.done() or await side.rows() >= before + UNDER_LOAD


async def stalled(side, deadline, stores, seconds, rounds):
    """Load a side, stop its database in the middle; count those who got no first answer."""
    before = await side.rows()
    loading = asyncio.create_task(loaded(side, rate=RATE, seconds=seconds, deadline=deadline))
    try:
        await until(partial(under_load, side, before, loading), within=60.0, every=0.05)
        stores.server.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            stores.server.resume()
        returned = time()
        seen = await loading
    finally:
        loading.cancel()
    late = max(0, int(seen["until_accepted"].get("max", 0.0) > 1000 * FIRST_ANSWER))
    failed = sum(seen["failed"].values()) + late
    rounds.append({"failed": failed, "last": seen["last"] - returned})
    notes = [f"{number} × {name}" for name, number in seen["failed"].items()]
    notes += [f"{seen['again']} asked to try again"] if seen["again"] else []
    return Sample(failed, notes=notes)
