"""F5: services are cut off from broker and database: both ways, one way, by resets."""

import asyncio

from proxy import TO_CLIENT, TO_SERVER
from runner import linked_run

RECOVERED_WITHIN = 5.0
SHORT, LONG_ONE = 2.0, 10
"""Seconds that a partition lasts at most, but for each tenth one."""


def cut(link, how):
    """Cut a link in one of the ways in which networks are cut."""
    match how:
        case "both ways":
            link.hold()
        case "what it sends":
            link.hold(TO_SERVER)
        case "what it hears":
            link.hold(TO_CLIENT)
        case "reset":
            link.shut()


def trouble(link):
    """What the link has done to those who use it."""
    return link.held + link.resets


async def test_partitions_lose_nothing_and_are_over_soon_after_they_heal(
    tmp_path, store, goal, size, dice, capsys
):
    gaps, ways = [], ["both ways", "what it sends", "what it hears", "reset"]
    partitions, longest = size(smoke=6, full=100), size(smoke=2.0, full=10.0, long=300.0)
    async with linked_run(tmp_path, store) as run:
        links = {**run.links, **{("database", n): p for (_, n), p in run.database_links.items()}}
        async with run.load(per_second=size(smoke=15, full=20)) as load:
            for number in range(partitions):
                name, how = dice.choice(list(links)), ways[number % len(ways)]
                link, before = links[name], trouble(links[name])
                run.fault(f"{name[0]} cut off: {how}")
                cut(link, how)
                most = longest if number % LONG_ONE == 0 else SHORT
                await asyncio.sleep(dice.uniform(0.5, most))  # it lasts
                run.hits += trouble(link) > before
                link.heal()
                link.open()
                gaps.append(await load.gap(run.fault("healed")))
        accepted = await run.check()
    with capsys.disabled():
        gaps.sort()
        print(f"\n  {run.summary()}, recovered after {[round(gap, 1) for gap in gaps]} s")
    assert accepted == len(run.history)
    target = f"< {RECOVERED_WITHIN:g} s"
    met, least = max(gaps) < RECOVERED_WITHIN, partitions
    goal("F5 recovery after a partition", max(gaps), target, hits=run.hits, least=least, met=met)
