"""S9: calls that are reset, calls without a request, large bodies, readers that do not read.

All of it at once, against a gateway with the limits of production; and somebody signs up.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from processes import free_ports
from runner import Run
from sign_ups import AGAIN

ABUSE = Path(__file__).parents[1] / "support/abuse.py"
LIMITED = {
    "SEAWAY_STREAMS_PER_CONNECTION": "20",
    "SEAWAY_WATCHERS": "500",
    "SEAWAY_WATCHERS_PER_CLIENT": "5",
}
SLOWER, MEMORY = 3.0, 300.0
A_SECOND = 20.0


def p99(history):
    waits = sorted(one.ended_at - one.begun for one in history)
    return waits[int(0.99 * (len(waits) - 1))]


async def largest(pid, sizes):
    """Keep the megabytes that a process has in memory, again and again."""
    process = psutil.Process(pid)
    while True:
        sizes.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(0.1)


async def abused(run, port, seconds):
    """Abuse the gateway for so many seconds; return what was done to it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, ABUSE, str(run.system.grpc_ports[0]), str(port), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, complained.decode()[-3000:]
    return json.loads(said)


@pytest.mark.store("sqlite")
async def test_who_signs_up_is_served_while_others_abuse_the_gateway(
    tmp_path, store, goal, size, capsys
):
    web_port = free_ports(9)[-1]  # the system takes the first of them
    seconds = size(smoke=8, full=30)
    settings = {**LIMITED, "SEAWAY_WEB_PORT": str(web_port)}
    async with Run(tmp_path, store, supervise=False, **settings) as run:
        async with run.load(A_SECOND, connections=1) as load:
            await load.begun(int(A_SECOND * size(smoke=4, full=30)))
        before, sizes = p99(run.history), []
        quiet = len(run.history)
        watching = asyncio.create_task(largest(run.system.gateways[0].process.pid, sizes))
        async with run.load(A_SECOND, connections=1):
            done = await abused(run, web_port, seconds)
        watching.cancel()
        meanwhile = run.history[quiet:]
        assert await run.check() == len(run.history)
    # Who is slow may have to ask again; nobody is told that there is no place for him.
    assert {code for one in meanwhile for code in one.errors} <= AGAIN
    after = p99(meanwhile)
    with capsys.disabled():
        print(f"\n  {done}, {len(meanwhile)} signed up meanwhile; {run.summary()}")
        print(f"  p99 {1000 * before:.0f} ms, abused {1000 * after:.0f} ms")
    hits = min(done["resets"] // 100, done["idle_ended"], done["large"], done["large_by_web"])
    # How much slower depends on how many processors are left for all the others: errors decide.
    goal("S9 p99", after / before, f"<= {SLOWER:g} x", hits=hits, least=1)
    memory = max(sizes)
    goal("S9 memory", memory, f"<= {MEMORY:g} MB", hits=len(sizes), least=10, met=memory <= MEMORY)
    goal("S9 resets", done["resets"] / seconds, ">= 2000 /s", hits=done["resets"], least=1000)
