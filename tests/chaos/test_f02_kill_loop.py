"""F2: every two seconds something is killed, whatever it is, while thousands sign up."""

import asyncio
from itertools import pairwise

import pytest
from runner import Run

EVERY = 2.0
PER_SECOND = 50


async def kill(victim, run, mortal):
    """Kill one of them; it is started again, here or by the supervisor."""
    run.fault(f"{getattr(victim, 'name', victim)} killed")
    match victim:
        case "broker":
            await run.system.server.restart()
        case "database":
            await asyncio.to_thread(mortal.server.kill)
            await asyncio.to_thread(mortal.server.start)
        case program:
            program.strike()


async def kill_in_turn(load, run, mortal, dice, stopping):
    """Kill, each two seconds, one that the dice choose, while somebody waits for an outcome."""
    victims = ["broker", *run.system.programs] + ["database"] * bool(mortal.server)
    hits = dict.fromkeys(["broker", "database", "gateway", "user_creation"], 0)
    while not stopping.is_set():
        victim = dice.choice(victims)
        in_hand = await load.caught()
        await kill(victim, run, mortal)
        hits[getattr(victim, "module", victim)] += bool(in_hand)
        try:
            async with asyncio.timeout(EVERY):
                await stopping.wait()
        except TimeoutError:
            continue
    return hits


@pytest.mark.timed_start
async def test_a_kill_loop_of_everything_loses_nothing_and_repeats_nothing(
    tmp_path, mortal, goal, size, dice, capsys
):
    wanted = size(smoke=1000, full=10_000, long=100_000)
    stopping = asyncio.Event()
    async with Run(tmp_path, mortal.url, gateways=2, workers=2) as run:
        async with run.load(PER_SECOND) as load, asyncio.TaskGroup() as tasks:
            killing = tasks.create_task(kill_in_turn(load, run, mortal, dice, stopping))
            await load.begun(wanted, within=900 + 3 * wanted / PER_SECOND)
            stopping.set()
        accepted = await run.check()
    hits = killing.result()
    ends = sorted(one.ended_at for one in run.history)
    stalls = sorted(after - before for before, after in pairwise(ends))
    run.hits = sum(hits.values())
    with capsys.disabled():
        print(f"\n  {run.summary()}, hits {hits}, longest stall {stalls[-1]:.1f} s")
    assert accepted == len(run.history)
    least = size(smoke=6, full=60, long=600)
    goal("R1 accepted and lost in a kill loop", 0, f"0 of {wanted}", hits=run.hits, least=least)
    goal("R2 rows or outcomes twice", 0, "0", hits=run.hits, least=least)
    met = stalls[-1] < 10
    goal(
        "F2 longest stall in a kill loop",
        stalls[-1],
        "< 10 s",
        hits=run.hits,
        least=least,
        met=met,
    )
