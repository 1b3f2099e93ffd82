"""F4: of three brokers, the one that leads the stream is killed, again and again."""

from cluster import nats_cluster
from runner import Run

TARGET = 12.0


async def test_leader_kills_lose_nothing_while_two_of_three_remain(
    tmp_path, store, goal, size, capsys
):
    kills, gaps, leaders = size(smoke=2, full=50), [], []
    async with (
        nats_cluster() as cluster,
        Run(tmp_path, store, server=cluster, SEAWAY_REPLICAS="3") as run,
    ):
        async with run.load(per_second=15) as load:
            for _ in range(kills):
                leaders.append(await cluster.leader("USERS"))
                run.hits += bool(await load.caught())
                at = run.fault(f"leader {leaders[-1]} killed")
                await cluster.servers[leaders[-1]].kill()
                gaps.append(await load.gap(at))
                await cluster.servers[leaders[-1]].start()
                await cluster.caught_up("USERS")  # of two that failed at once nothing is claimed
        accepted = await run.check()
    with capsys.disabled():
        print(f"\n  {run.summary()}, leaders {leaders}")
    assert accepted == len(run.history)
    goal(
        "R6 gap after a leader kill, 3 brokers",
        max(gaps),
        f"< {TARGET:g} s",
        hits=run.hits,
        least=kills,
        met=max(gaps) < TARGET,
    )
