"""What it costs to be watched: A with metrics that are scraped and traces, beside A with neither.

One request in a hundred is traced, as the gateway would have decided. Scraped is as often as the
chart asks for, and spans leave as often as OpenTelemetry lets them.
"""

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from a_consume import OURS, Setting, consumed
from broker import a_broker
from processes import free_ports
from rounds import Figure, Sample, interleaved
from spans import receiver

EVERY = 100
"""One request in so many is traced."""
SCRAPED_EVERY = 15.0
"""Seconds, as in deploy/helm/service/values.yaml."""
MOST = 0.05
"""Of the rate, and of the processor's time."""
PAIRS = 3
"""For each round of A. A shared machine is a fifth faster for half a minute, and then slower: what
is compared has to lie next to each other, and often.
"""
TIMES = 5
"""The requests of A: a round is to last longer than it is between two scrapes."""
UNWATCHED = replace(OURS, command=(str(Path(__file__).with_name("unwatched.py")),))


def traced(number):
    """A context as a gateway hands it on; few are recorded."""
    recorded = "01" if number % EVERY == 0 else "00"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{recorded}"


async def scraped(port):
    """Ask for all metrics again and again, as a Prometheus does; nobody may be there yet."""
    while True:
        await asyncio.sleep(SCRAPED_EVERY)
        await asyncio.to_thread(scrape, port)


def scrape(port):
    """Read all metrics once."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            answer.read()
    except URLError:
        pass


@asynccontextmanager
async def watching(port):
    """Run a broker, and scrape whoever serves metrics there meanwhile."""
    async with a_broker() as broker:
        task = asyncio.create_task(scraped(port))
        try:
            yield broker
        finally:
            task.cancel()


async def watched(requests, stores, spans):
    """A, with everything on. Spans that never came are a mistake of the bench."""
    port, before = free_ports(1)[0], len(spans.seen)
    told = {
        **spans.settings,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "SEAWAY_METRICS_PORT": str(port),
    }
    setting = Setting(partial(watching, port), told=told, traced=traced)
    sample = await consumed(OURS, requests, stores, "postgresql", setting)
    created = sum(seen.name.startswith("create ") for seen in spans.seen[before:])
    if created < requests // EVERY:
        sample.wrong.append(f"{created} traces of {requests // EVERY}")
    return sample


def spent(samples):
    """The consumer's CPU seconds, as samples of their own."""
    return [Sample(sample.cpu["consumer 1"]) for sample in samples]


async def story(plan, stores, say):
    """Yield what it costs in rate and in the consumer's CPU seconds."""
    requests = TIMES * plan.requests
    say(f"overhead: {requests:,} requests waiting, with metrics and 1 % traces or without")
    with receiver() as spans:
        sides = {
            "watched": partial(watched, requests, stores, spans),
            "unwatched": partial(consumed, UNWATCHED, requests, stores, "postgresql"),
        }
        samples = await interleaved(
            sides, PAIRS * plan.rounds, say, within=plan.patience, warm_up=plan.warm_up
        )
    on, off = samples["watched"], samples["unwatched"]
    rate = Figure("A.unwatched.postgresql", "outcomes/s", on, off, 1 - MOST, by_pairs=True)
    busy = Figure(
        "A.unwatched.cpu",
        "CPU s/1,000",
        *(spent(on), spent(off), 1 + MOST),
        less_is_better=True,
        by_pairs=True,
    )
    if rate.ratio and busy.ratio:  # few requests are done before anything can be measured
        costs = f"{1 - rate.ratio:.1%} of the rate, {busy.ratio - 1:.1%} more CPU"
        say(f"    metrics and 1 % traces cost {costs}; target <= {MOST:.0%}")
    yield rate
    yield busy
