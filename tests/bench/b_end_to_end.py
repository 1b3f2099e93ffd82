"""B: end to end, from the call to CONFIRMED; each client then begins again."""

from contextlib import AsyncExitStack
from functools import partial

from rounds import Figure, Sample, interleaved
from sides import measured, ours, peer

TARGETS = {
    ("twin", 64): 1.0,
    ("twin", 256): 1.2,
    ("unary", 64): 0.9,
}
"""How our throughput compares, by peer and clients."""
LATENCY = {"p50": 2.5, "p99": 3.0}
"""How our latency may compare with the twin's, for one client."""


async def all_sides(stack, stores):
    """Start every side; they run at once, and only one of them has work."""
    twin = await stack.enter_async_context(peer(stores, "twin", "stream"))
    return {
        "ours": await stack.enter_async_context(ours(stores)),
        "twin": twin,
        "unary": type(twin)("unary", twin.target, twin.pids, twin.url, twin.table),
        "fastapi": await stack.enter_async_context(peer(stores, "web", "http")),
    }


async def story(plan, stores, say):
    """Yield the figures of B: throughput, and for a single client the latency."""
    async with AsyncExitStack() as stack:
        sides = await all_sides(stack, stores)
        for clients in plan.clients:
            say(f"B: {clients} clients, {plan.seconds:g} s each, PostgreSQL")
            latencies = {name: [] for name in sides}
            measures = {
                name: partial(throughput, side, latencies[name], clients, plan.seconds)
                for name, side in sides.items()
            }
            samples = await interleaved(
                measures, plan.rounds, say, within=plan.patience, warm_up=plan.warm_up
            )
            for name in ("twin", "unary", "fastapi"):
                wanted = TARGETS.get((name, clients))
                figure = f"B.{name}.clients_{clients}"
                yield Figure(figure, "sign-ups/s", samples["ours"], samples[name], wanted)
            for tail, wanted in LATENCY.items():
                wanted = wanted if clients == 1 else None
                ours_, twins = (
                    [Sample(seen[tail]) for seen in latencies[name][-len(samples[name]) :]]
                    for name in ("ours", "twin")
                )
                figure = f"B.latency.{tail}.clients_{clients}"
                yield Figure(figure, "ms", ours_, twins, wanted, less_is_better=True)


async def throughput(side, latencies, clients, seconds):
    """Sign-ups per second of one side; its latencies are kept."""
    sample, seen = await measured(side, clients=clients, seconds=seconds)
    latencies.append(seen["latency"])
    return sample
