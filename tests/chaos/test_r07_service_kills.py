"""R7: how long newcomers wait for an outcome after a service was killed."""

from statistics import quantiles

import pytest
from runner import Run

TARGETS = {1: 6.0, 2: 2.0}


@pytest.mark.timed_start
@pytest.mark.parametrize("replicas", [1, 2], ids=["alone", "with a warm replica"])
async def test_newcomers_are_soon_served_after_a_service_was_killed(
    tmp_path, store, replicas, goal, size, capsys
):
    kills, gaps = size(smoke=2, full=50 if replicas == 1 else 25, long=100), {}
    async with Run(tmp_path, store, gateways=replicas, workers=replicas) as run:
        async with run.load(per_second=size(smoke=15, full=25)) as load:
            for _ in range(kills):
                for program in (run.system.workers[0], run.system.gateways[0]):
                    run.hits += bool(await load.caught())
                    at = run.fault(f"{program.name} killed")
                    program.strike()
                    gaps.setdefault(program.module, []).append(await load.gap(at))
                    await run.ready()
        accepted = await run.check()
    worst = {module: round(max(each), 2) for module, each in gaps.items()}
    with capsys.disabled():
        print(f"\n  {run.summary()}, gaps at most {worst}")
    assert accepted == len(run.history)
    p99 = quantiles((gap for each in gaps.values() for gap in each), n=100, method="inclusive")[-1]
    name = "R7 gap after a service kill, " + ("alone" if replicas == 1 else "warm replica")
    target, met = f"p99 < {TARGETS[replicas]:g} s", p99 < TARGETS[replicas]
    goal(name, p99, target, hits=run.hits, least=2 * kills, met=met)
