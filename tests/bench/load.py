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
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from uuid import NAMESPACE_OID, uuid4, uuid5

import grpc
from acme.gateway.v1.sign_up_pb2 import SignUpRequest
from callers import FORMS, Refused

BUSY = 0.9
"""Of one core: a load that needs more is the limit."""
LATE = 0.05
"""Seconds: an open loop that begins later than that is the limit, too."""
TRY_AGAIN_AFTER = 0.2
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass(frozen=True)
class Load:
    """What is asked of whom."""

    form: str
    target: str
    seconds: float
    clients: int = 1
    rate: float = 0.0
    """How many begin each second. 0: a closed loop."""
    deadline: float = 60.0
    seed: str = ""
    """What the ids of the requests are derived from."""
    most: int = 10**9


@dataclass
class Seen:
    """What the callers saw, in seconds."""

    latencies: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    failed: Counter = field(default_factory=Counter)
    again: int = 0
    """How often a server asked to try again."""
    last: float = 0.0
    """When the last one was confirmed, by the clock of the machine."""
    seed: str = ""
    """What the ids of requests are derived from."""
    numbers: Iterator[int] = field(default_factory=count)


def request_id_of(seed, number):
    """The same id in every process."""
    return str(uuid5(NAMESPACE_OID, f"{seed}/{number}"))


def a_request(request_id):
    return SignUpRequest(
        request_id=request_id,
        email=f"{request_id}@example.org",
        display_name="Ada Lovelace",
        locale="en",
        reveal_taken=True,
    )


async def answered(sign_up, request, accepted):
    """Whether there was an answer: who is UNAVAILABLE, or ends a call, is asked again by all."""
    try:
        await sign_up(request, accepted)
    except grpc.aio.AioRpcError as error:
        if error.code() not in AGAIN:
            raise
        return False
    return True


async def once(sign_up, seen, begun):
    """Sign one up; the time counts from `begun`."""

    def accepted():
        seen.accepted.append(time.perf_counter() - begun)

    request = a_request(request_id_of(seen.seed, next(seen.numbers)))
    try:
        while not await answered(sign_up, request, accepted):
            seen.again += 1
            await asyncio.sleep(TRY_AGAIN_AFTER)
    except grpc.aio.AioRpcError as error:
        seen.failed[error.code().name] += 1
    except (Refused, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        seen.failed[type(error).__name__] += 1
    else:
        seen.latencies.append(time.perf_counter() - begun)
        seen.last = time.time()


async def closed(sign_up, seen, load):
    """So many clients, each of which begins again when it has its answer."""
    until = time.perf_counter() + load.seconds

    async def client():
        while (begun := time.perf_counter()) < until:
            await once(sign_up, seen, begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(load.clients):
            group.create_task(client())


async def opened(sign_up, seen, load):
    """So many each second, at moments that do not depend on the answers."""
    dice, at = random.Random(1), time.perf_counter()
    until = at + load.seconds
    async with asyncio.TaskGroup() as group:
        while (at := at + dice.expovariate(load.rate)) < until and len(seen.late) < load.most:
            if (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            seen.late.append(max(0.0, time.perf_counter() - at))
            group.create_task(once(sign_up, seen, at))


def quantiles(values):
    """The tail of some times, in milliseconds."""
    ordered = sorted(values)
    places = {name: int(part * (len(ordered) - 1)) for name, part in QUANTILES.items()}
    return {name: round(1000 * ordered[p], 3) for name, p in places.items()} if ordered else {}


async def run(load):
    """Load a server; return what was seen."""
    seen, warm = Seen(seed=load.seed or str(uuid4())), Seen(seed=str(uuid4()))
    async with FORMS[load.form](load.target, load.clients, load.deadline) as sign_up:
        await once(sign_up, warm, time.perf_counter())
        gc.collect()
        gc.freeze()
        begun, used = time.perf_counter(), cpu()
        await (opened if load.rate else closed)(sign_up, seen, load)
        elapsed, used = time.perf_counter() - begun, cpu() - used
    late = quantiles(seen.late).get("p99", 0.0)
    return {
        "done": len(seen.latencies),
        "before": len(warm.latencies),
        "failed": dict(seen.failed),
        "again": seen.again,
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
    print(json.dumps(asyncio.run(run(Load(**json.loads(sys.argv[1]))))))
