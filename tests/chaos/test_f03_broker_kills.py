"""F3: the broker is killed again and again while people sign up."""

import asyncio

from runner import Run

TARGET = 5.0
UP_FOR = (1.0, 2.0)
"""Seconds that the broker runs between two kills; what nobody acked comes again after 5 s."""


async def test_broker_kills_lose_nothing_and_are_over_soon(
    tmp_path, store, goal, size, dice, capsys
):
    kills, gaps = size(smoke=6, full=100), []
    async with Run(tmp_path, store) as run:
        async with run.load(per_second=size(smoke=15, full=25)) as load:
            for _ in range(kills):
                run.hits += bool(await load.caught())
                at = run.fault("broker killed")
                await run.system.server.restart()
                gaps.append(await load.gap(at))
                await asyncio.sleep(dice.uniform(*UP_FOR))
        accepted = await run.check()
    with capsys.disabled():
        print(f"\n  {run.summary()}, gaps {[round(gap, 1) for gap in gaps]} s")
    assert accepted == len(run.history)
    gaps.sort()
    goal(
        "R6 end-to-end gap after a broker kill",
        gaps[-1],
        f"< {TARGET:g} s",
        hits=run.hits,
        least=kills,
        met=gaps[-1] < TARGET,
    )
