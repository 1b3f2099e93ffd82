"""The load, in a process of its own: it says what it saw, and whether it was itself the limit.

    python load.py '{"form": "stream", "target": "127.0.0.1:50051", "clients": 64, "seconds": 5}'

With `rate` it is an open loop: so many begin each second, whether or not the others are done, and
a latency counts from the moment when it was to begin. With `clients` it is a closed one.
"""

import asyncio
import gc
import json
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import uuid4

import grpc
from acme.gateway.v1.sign_up_pb2 import SignUpRequest
from callers import FORMS, Refused

BUSY = 0.9
"""Of one core: a load that needs more is the limit."""
LATE = 0.05
"""Seconds: an open loop that begins later than that is the limit, too."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass
class Seen:
    """What the callers saw, in seconds."""

    latencies: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    failed: Counter = field(default_factory=Counter)
    last: float = 0.0
    """When the last one was confirmed, by the clock of the machine."""


def a_request():
    request_id = str(uuid4())
    return SignUpRequest(
        request_id=request_id,
        email=f"{request_id}@example.org",
        display_name="Ada Lovelace",
        locale="en",
        reveal_taken=True,
    )


async def once(sign_up, seen, begun):
    """Sign one up; the time counts from `begun`."""

    def accepted():
        seen.accepted.append(time.perf_counter() - begun)

    try:
        await sign_up(a_request(), accepted)
    except grpc.aio.AioRpcError as error:
        seen.failed[error.code().name] += 1
    except (Refused, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        seen.failed[type(error).__name__] += 1
    else:
        seen.latencies.append(time.perf_counter() - begun)
        seen.last = time.time()


async def closed(sign_up, seen, clients, seconds):
    """So many clients, each of which begins again when it has its answer."""
    until = time.perf_counter() + seconds

    async def client():
        while (begun := time.perf_counter()) < until:
            await once(sign_up, seen, begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def opened(sign_up, seen, rate, seconds):
    """So many each second, at moments that do not depend on the answers."""
    dice, at = random.Random(1), time.perf_counter()
    until = at + seconds
    async with asyncio.TaskGroup() as group:
        while (at := at + dice.expovariate(rate)) < until:
            if (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            seen.late.append(max(0.0, time.perf_counter() - at))
            group.create_task(once(sign_up, seen, at))


def quantiles(values):
    """The tail of some times, in milliseconds."""
    ordered = sorted(values)
    places = {name: int(part * (len(ordered) - 1)) for name, part in QUANTILES.items()}
    return {name: round(1000 * ordered[p], 3) for name, p in places.items()} if ordered else {}


async def run(form, target, seconds, clients=1, rate=0.0, deadline=60.0):
    """Load a server; return what was seen."""
    seen = Seen()
    async with FORMS[form](target, clients, deadline) as sign_up:
        await once(sign_up, warm := Seen(), time.perf_counter())
        gc.collect()
        gc.freeze()
        begun, used = time.perf_counter(), cpu()
        await (
            opened(sign_up, seen, rate, seconds)
            if rate
            else closed(sign_up, seen, clients, seconds)
        )
        elapsed, used = time.perf_counter() - begun, cpu() - used
    late = quantiles(seen.late).get("p99", 0.0)
    return {
        "done": len(seen.latencies),
        "before": len(warm.latencies),
        "failed": dict(seen.failed),
        "accepted": len(seen.accepted),
        "elapsed": elapsed,
        "rate": len(seen.latencies) / elapsed,
        "latency": quantiles(seen.latencies),
        "until_accepted": quantiles(seen.accepted),
        "late": late,
        "last": seen.last,
        "cpu": round(used / elapsed, 3),
        "was_the_limit": used / elapsed > BUSY or late > 1000 * LATE,
    }


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
