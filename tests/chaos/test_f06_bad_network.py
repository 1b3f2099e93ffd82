"""F6: a network that is slow, and one that cuts what it carries into single bytes."""

import asyncio

from runner import linked_run
from sign_ups import ATTEMPT


async def test_a_bad_network_loses_nothing_and_no_call_outlasts_its_deadline(
    tmp_path, store, goal, size, capsys
):
    served, lasts = [], size(smoke=4.0, full=20.0, long=300.0)
    async with linked_run(tmp_path, store) as run:
        links = [*run.links.values(), *run.database_links.values()]
        async with run.load(per_second=size(smoke=10, full=5)):  # what one process carries
            for delay, slice in ((0.05, 65536), (0.25, 65536), (0.0, 1)):
                run.fault(f"delay {delay} s, {slice} bytes at once")
                for link in links:
                    link.delay, link.slice = delay, slice
                first = len(run.history)
                await asyncio.sleep(lasts)
                served.append(sum(one.accepted for one in run.history[first:]))
            for link in links:
                link.heal()
        accepted = await run.check()
    slowest = max(one.slowest_call for one in run.history)
    run.hits = sum(link.delayed for link in links)
    with capsys.disabled():
        print(f"\n  {run.summary()}, slowest call {slowest:.1f} s, accepted {served}")
    assert accepted == len(run.history)
    goal(
        "F6 slowest call on a bad network",
        slowest,
        f"<= {ATTEMPT + 1:g} s",
        hits=run.hits,
        least=100,
        met=slowest <= ATTEMPT + 1,
    )
    goal(
        "F6 accepted at 0.25 s each way", served[1], "> 0", hits=run.hits, least=100, met=served[1]
    )
