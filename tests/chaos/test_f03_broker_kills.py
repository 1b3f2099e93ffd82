"""F3: the broker is killed again and again while people sign up."""

from runner import Run

TARGET = 5.0


async def test_broker_kills_lose_nothing_and_are_over_soon(tmp_path, store, goal, size, capsys):
    kills, gaps = size(smoke=6, full=100), []
    async with Run(tmp_path, store) as run:
        async with run.load(per_second=50) as load:
            for _ in range(kills):
                run.hits += bool(await load.caught())
                at = run.fault("broker killed")
                await run.system.server.restart()
                gaps.append(await load.gap(at))
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
