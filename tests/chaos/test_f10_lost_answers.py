"""F10, F11: the broker has stored something, and its answer never comes."""

import pytest
from runner import linked_run
from waiting import until

PUB_ACK = b'"stream":"USERS"'
"""What only the broker's answer to a publish says."""


@pytest.mark.store("sqlite")
async def test_a_lost_answer_of_the_broker_is_no_second_message(
    tmp_path, store, goal, size, capsys
):
    """Of requests and of outcomes: the connection is cut in place of the answer."""
    wanted = size(smoke=8, full=250, long=1000)
    async with linked_run(tmp_path, store, gateways=2, workers=2) as run:
        async with run.load(per_second=40):
            for number in range(wanted):
                link = list(run.links.values())[number % len(run.links)]
                before = link.lost
                run.fault("an answer to a publish is lost")
                link.lose_next(PUB_ACK)
                await until(lambda: link.lost > before, within=120)  # noqa: B023
        accepted = await run.check()
    run.hits = sum(link.lost for link in run.links.values())
    with capsys.disabled():
        print(f"\n  {run.summary()}")
    assert accepted == len(run.history)
    goal("F10 stored twice after a lost answer", 0, "0", hits=run.hits, least=wanted)


@pytest.mark.store("sqlite")
async def test_a_retry_after_the_broker_was_killed_finds_what_is_stored(
    tmp_path, store, goal, size, capsys
):
    """The answer is lost, and the broker is killed before anybody can ask again."""
    wanted = size(smoke=3, full=100, long=1000)
    async with linked_run(tmp_path, store) as run:
        async with run.load(per_second=40) as load:
            for number in range(wanted):
                link = list(run.links.values())[number % len(run.links)]
                before = link.lost
                link.lose_next(PUB_ACK)
                await until(lambda: link.lost > before, within=120)  # noqa: B023
                at = run.fault("an answer is lost, the broker killed")
                await run.system.server.restart()
                await load.gap(at)
        accepted = await run.check()
    run.hits = sum(link.lost for link in run.links.values())
    with capsys.disabled():
        print(f"\n  {run.summary()}")
    assert accepted == len(run.history)
    goal("F11 stored twice by a late retry", 0, "0", hits=run.hits, least=wanted)
