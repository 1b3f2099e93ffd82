"""A: consume, write to SQL, publish the outcome. So many requests are waiting.

The rate is read off the broker's own clock, from the first tenth of the outcomes to the last one,
so that starting a process does not count, nor the first batch of who works in batches. The
processor's time is that of about these nine tenths, too.
"""

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from broker import a_broker, drained, fill, outcomes, users
from programs import PEERS, Used, call, running
from rounds import Figure, Sample, interleaved
from stores import KINDS, count, our_users

TARGETS = {"faststream_idiomatic": 8.0, "faststream_best": 2.0, "limit": 0.8}


@dataclass(frozen=True)
class Side:
    """A consumer: how it is prepared, how it is run, how its database is told to it."""

    command: tuple[str, ...]
    database: str
    prepare: tuple[str, ...] = ()
    one_in: int = 1
    """It finds one in so many of the requests waiting: the rate of who takes them one by one is
    the same, and all of them would take it minutes."""

    def table(self, url):
        return our_users(url) if self.prepare else "users"


async def nothing(server, broker):
    """Nothing happens before the requests come."""


def untraced(number):
    """No request is in a trace."""
    return ""


@dataclass(frozen=True)
class Setting:
    """In what surroundings a side works."""

    broker: Callable = a_broker
    consumers: int = 1
    copies: int = 1
    """How many the broker keeps of the stream, which has to be what a service is told."""
    before: Callable = nothing
    """What is done with server and client before the requests come."""
    told: dict[str, str] = field(default_factory=dict)
    """Further settings."""
    traced: Callable = untraced
    """In which trace a request is, by its number."""


OURS = Side(("-m", "user_creation"), "SEAWAY_DATABASE_URL", ("-m", "user_creation", "prepare"))
SIDES = {
    "ours": OURS,
    **{name: Side((str(PEERS / f"{name}.py"),), "BENCH_DATABASE") for name in TARGETS},
}
SIDES["faststream_idiomatic"] = replace(SIDES["faststream_idiomatic"], one_in=4)


async def consumed(side, requests, stores, kind, setting=Setting()):
    """Outcomes per second of one side that finds so many requests waiting, for each consumer."""
    requests = requests * setting.consumers // side.one_in
    with tempfile.TemporaryDirectory(prefix="seaway-bench-") as name:
        folder = Path(name)
        url = stores.new(kind, folder)
        async with setting.broker() as (server, broker):
            settings = {
                "SEAWAY_NATS_URL": server.url,
                "SEAWAY_METRICS_PORT": "0",
                "SEAWAY_REPLICAS": str(setting.copies),
                side.database: url,
                **setting.told,
            }
            if side.prepare:
                await call(side.prepare, settings, folder)
            await setting.before(server, broker)
            await fill(broker, requests, traced=setting.traced)
            database = {"postgresql": stores.pid} if kind == "postgresql" else {}
            async with AsyncExitStack() as stack:
                processes = [
                    await stack.enter_async_context(running(side.command, settings, folder))
                    for _ in range(setting.consumers)
                ]
                pids = {f"consumer {n}": each.pid for n, each in enumerate(processes, start=1)}
                rest = await drained(broker, processes[0], to=requests - requests // 10)
                used = Used({**pids, "broker": server.pid, **database})
                left = await drained(broker, processes[0])
                spent = used.per_thousand(rest)
            times, confirmed = await outcomes(broker)
        rows = await count(url, side.table(url))
    found = [f"stuck with {left} left"] if left else []
    found += wrong(requests, len(times), confirmed, rows)
    notes = [f"{requests:,} waiting"] if side.one_in > 1 else []
    return Sample(rate(times), spent, notes, found)


def rate(times):
    """Outcomes per second, without the first tenth."""
    first = len(times) // 10
    seconds = (times[-1] - times[first]).total_seconds() if times else 0.0
    return (len(times) - 1 - first) / seconds if seconds else 0.0


def wrong(requests, answered, confirmed, rows):
    """What does not add up: said of a peer in the table, and not repaired."""
    notes = [f"{requests - answered} of {requests} lost"] if answered < requests else []
    notes += [f"{answered} outcomes of {requests} requests"] if answered > requests else []
    expected = users(requests)
    if (confirmed, rows) != (expected, expected):
        notes.append(f"{confirmed} confirmed and {rows} rows, not {expected}")
    return notes


async def story(plan, stores, say):
    """Yield the figures of A."""
    for kind in KINDS:
        say(f"A: {plan.requests:,} requests waiting, {kind}")
        sides = {
            name: partial(consumed, side, plan.requests, stores, kind)
            for name, side in SIDES.items()
        }
        samples = await interleaved(
            sides, plan.rounds, say, within=plan.patience, warm_up=plan.warm_up
        )
        for peer, target in TARGETS.items():
            yield Figure(f"A.{peer}.{kind}", "outcomes/s", samples["ours"], samples[peer], target)
