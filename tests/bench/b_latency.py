"""B, open loop: latency while so many begin each second, however long the others take.

Both sides are given the same rates: a quarter, a half and three quarters of what the twin can do.
A latency counts from the moment when the call was to begin, so that nobody's delay is left out.
"""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from rounds import Figure, Sample, interleaved, middle
from sides import measured, ours, peer

SHARES = (25, 50, 75)
TAILS = ("p50", "p90", "p99", "p99.9")
TARGETS = {(75, "p99"): 1.5}
CLIENTS = 64
"""At which the capacity is measured."""


async def story(plan, stores, say):
    """Yield the tails of both at each rate."""
    async with AsyncExitStack() as stack:
        sides = {
            "ours": await stack.enter_async_context(ours(stores)),
            "twin": await stack.enter_async_context(peer(stores, "twin", "stream")),
        }
        say("latency: what each can do")
        capacities = {name: partial(capacity, side, plan.seconds) for name, side in sides.items()}
        able = await interleaved(capacities, min(plan.rounds, 3), say, within=plan.patience)
        for share in SHARES:
            rate = middle(able["twin"]) * share / 100
            say(f"latency: {rate:,.0f} begin each second, {share} % of what the twin can do")
            tails = {name: [] for name in sides}
            measures = {
                name: partial(at_rate, side, tails[name], rate, 2 * plan.seconds)
                for name, side in sides.items()
            }
            done = await interleaved(
                measures,
                plan.rounds,
                say,
                within=plan.patience,
                warm_up=plan.warm_up,
                unit="ms (p99)",
            )
            for tail in TAILS:
                each = {
                    name: [
                        Sample(seen[tail], notes=notes, wrong=wrong)
                        for seen, notes, wrong in all_[-len(done["ours"]) :]
                    ]
                    for name, all_ in tails.items()
                }
                figure, wanted = f"B.open.{tail}.load_{share}", TARGETS.get((share, tail))
                yield Figure(figure, "ms", each["ours"], each["twin"], wanted, less_is_better=True)


async def capacity(side, seconds):
    """Sign-ups per second of a closed loop."""
    return (await measured(side, clients=CLIENTS, seconds=seconds))[0]


async def at_rate(side, tails, rate, seconds):
    """The tail at a rate, in milliseconds."""
    sample, seen = await measured(side, rate=rate, seconds=seconds, clients=CLIENTS)
    tails.append((seen["latency"], sample.notes, sample.wrong))
    return replace(sample, value=seen["latency"]["p99"])
