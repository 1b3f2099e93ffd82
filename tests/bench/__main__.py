"""make bench: Seaway and the limit side by side, in one run, on the same work.

A: consume, write to SQL, publish the outcome; so many requests are waiting. The rate is read off
the broker's own clock, from the first outcome stored to the last, so that starting a process does
not count. fsync is on everywhere. Interleaved, after a round that does not count.

    make bench ARGS='--requests 20000 --rounds 5'
"""

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import uuid
from pathlib import Path

from acme.users.v1 import CreateUserRequested
from seaway import Envelope, address_of
from seaway.jetstream import JetStream
from seaway.telemetry import configure_logging
from seaway.testing import nats_server
from seaway.topology import DurableSpec, apply, declared

HERE = Path(__file__).parent
DURABLE = DurableSpec.elsewhere(
    "user-creation", CreateUserRequested.DESCRIPTOR.full_name, "beginning"
)
OUTCOMES = ("users.v1.create-confirmed.*", "users.v1.create-rejected.*")
GIVE_UP_AFTER = 120.0


async def fill(broker, count):
    """Publish so many requests, one in a hundred for an address that is taken."""
    bodies = [
        CreateUserRequested(
            request_id=str(uuid.uuid4()),
            email=f"{n - (n % 100 == 99)}@example.org",
            display_name="A",
        )
        for n in range(count)
    ]
    for start in range(0, count, 1000):
        part = bodies[start : start + 1000]
        await broker.publish([Envelope.opening(body, "bench").posting() for body in part])


async def run(command, settings, folder):
    log = (folder / "log").open("ab")
    ports = {"SEAWAY_METRICS_PORT": "0", "SEAWAY_WEB_PORT": "0"}
    environment = {**os.environ, **ports, **settings}
    with log:
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, cwd=folder, stdout=log, stderr=log
        )


async def drained(broker):
    async with asyncio.timeout(GIVE_UP_AFTER):
        while True:
            found = (await broker.durables("USERS"))[DURABLE.name]
            if not found.pending and not found.ack_pending:
                return
            await asyncio.sleep(0.05)


async def rate(prepare, command, settings, count):
    """Outcomes per second of one process, from the first to the last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with nats_server() as server, JetStream(server.url, "bench") as broker:
            await broker.connected()
            await apply(broker, declared([address_of(CreateUserRequested).stream], [DURABLE]))
            await fill(broker, count)
            settings = {k: v.format(folder=folder) for k, v in settings.items()}
            settings["SEAWAY_NATS_URL"] = server.url
            if prepare:
                await (await run(prepare, settings, folder)).wait()
            process = await run(command, settings, folder)
            try:
                await drained(broker)
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                await process.wait()
            scans = [broker.scan("USERS", subjects) for subjects in OUTCOMES]
            times = sorted([s.at async for s in scans[0]] + [s.at async for s in scans[1]])
            assert len(times) == count, f"{len(times)} outcomes of {count} requests"
            return count / (times[-1] - times[0]).total_seconds()


OURS = (
    ("-m", "user_creation", "prepare"),
    ("-m", "user_creation"),
    {"SEAWAY_DATABASE_URL": "sqlite+aiosqlite:///{folder}/users.db"},
)
LIMIT = (None, (str(HERE / "limit.py"),), {"BENCH_DATABASE": "{folder}/users.db"})


async def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    configure_logging("bench", "warning", "console")
    rates = {"ours": [], "limit": []}
    for number in range(options.rounds + 1):
        for name, side in (("ours", OURS), ("limit", LIMIT)):
            measured = await rate(*side, options.requests)
            warm_up = number == 0
            print(f"  {name:<6} {measured:>8,.0f}/s{'  (warm-up)' if warm_up else ''}", flush=True)
            if not warm_up:
                rates[name].append(measured)
    ours, limit = (statistics.median(rates[name]) for name in ("ours", "limit"))
    print(f"\nA on SQLite, {options.requests:,} requests, medians of {options.rounds} rounds")
    for name, each in rates.items():
        median = statistics.median(each)
        print(f"  {name:<6} {median:>8,.0f}/s  ({min(each):,.0f} to {max(each):,.0f})")
    print(f"  ratio  {ours / limit:>8.2f}   target 0.8")


if __name__ == "__main__":
    asyncio.run(main())
