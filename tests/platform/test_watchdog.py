"""The watchdog: a loop that has stopped turning ends its process; one that was paused does not."""

import asyncio
import signal
import sys

import pytest

CHILD = """
import asyncio, sys, time
from seaway.process.watchdog import watchdog

async def main(how):
    async with watchdog(look_every=0.1, misses=5):
        print("up", flush=True)
        if how == "blocked":
            while True:
                pass
        if how == "blocked for a while":
            time.sleep(0.25)
        if how == "waiting":
            await asyncio.to_thread(sys.stdin.readline)
    print("ended well", flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def start(how):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, how),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await process.stdout.readline() == b"up\n"
    return process


async def ended(process, typed=b""):
    async with asyncio.timeout(20):
        said, complained = await process.communicate(typed)
    return process.returncode, said.decode(), complained.decode()


async def test_a_process_whose_loop_has_stopped_ends_itself_and_says_where_it_stood():
    code, said, complained = await ended(await start("blocked"))
    assert (code, said) == (1, "")
    assert "the event loop has stopped turning" in complained
    assert "in main" in complained


async def test_a_process_that_was_paused_goes_on():
    process = await start("waiting")
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.0)  # longer than the loop may stand still: this is the fault itself
    process.send_signal(signal.SIGCONT)
    assert await ended(process, b"go on\n") == (0, "ended well\n", "")


@pytest.mark.parametrize("how", ["not at all", "blocked for a while"])
async def test_a_process_whose_loop_turns_is_left_alone(how):
    assert await ended(await start(how)) == (0, "ended well\n", "")
