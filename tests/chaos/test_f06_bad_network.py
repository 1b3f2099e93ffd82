"""F6: a network that is slow, and one that cuts what it carries into single bytes."""

import asyncio

from runner import linked_run
from sign_ups import ATTEMPT


async def test_a_bad_network_loses_nothing_and_no_call_outlasts_its_deadline(
    tmp_path, store, goal, size, capsys
):
    lasts = size(smoke=4.0, full=20.0, long=300.0)
    async with linked_run(tmp_path, store) as run:
        links = [*run.links.values(), *run.database_links.values()]
        async with run.load(per_second=10):
            for delay, slice in ((0.05, 65536), (0.25, 65536), (0.0, 1)):
                run.fault(f"delay {delay} s, {slice} bytes at once")
                for link in links:
                    link.delay, link.slice = delay, slice
                await asyncio.sleep(lasts)
            for link in links:
                link.heal()
        accepted = await run.check()
    slowest = max(one.slowest_call for one in run.history)
    run.hits = sum(link.delayed for link in links)
    with capsys.disabled():
        print(f"\n  {run.summary()}, slowest call {slowest:.1f} s")
    assert accepted == len(run.history)
    goal(
        "F6 slowest call on a bad network",
        slowest,
        f"<= {ATTEMPT + 1:g} s",
        hits=run.hits,
        least=100,
        met=slowest <= ATTEMPT + 1,
    )
