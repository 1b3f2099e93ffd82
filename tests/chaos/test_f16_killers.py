"""Messages that kill their process, beside slow ones that do not: only the guilty are set aside.

Sixteen are in hand at once, and when a process dies nobody can say of which it died. One replica,
and two of which each is killed by what the other has left.
"""

from collections import Counter
from contextlib import AsyncExitStack

import pytest
from backlogs import drained
from invariants import users_of
from poison import PERILOUS, named, publish
from processes import Program, free_ports, supervised
from seaway.dead_letters import letters
from seaway.jetstream import JetStream
from seaway.suspects import MOST_KILLS
from seaway.testing import nats_server

LONG = 1800.0
"""Seconds within which all is over, on any machine."""
pytestmark = pytest.mark.timeout(2 * LONG)


def crowd(killers, innocent, dice):
    """Killers, each among slow ones that will be in hand beside it; ids of the killers."""
    guilty = [named("abort")() for _ in range(killers)]
    messages = [*guilty, *(named("slow")() for _ in range(innocent))]
    dice.shuffle(messages)
    return messages, {headers["ce-id"] for _, _, headers in guilty}


async def run(folder, store, messages, replicas):
    """Have real processes work through them; return the letters, the users, and all deaths."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(nats_server())
        broker = await stack.enter_async_context(JetStream(server.url, "test"))
        await broker.connected()
        settings = {
            "SEAWAY_NATS_URL": server.url,
            "SEAWAY_DATABASE_URL": store,
            "PERILOUS_ACK_WAIT": "1",
            "PERILOUS_FORM": "each",
            "PYTHONPATH": str(PERILOUS),
        }
        programs = [Program("perilous", settings, folder, port) for port in free_ports(replicas)]
        for program in programs:
            await stack.enter_async_context(program)
        await stack.enter_async_context(supervised(programs))
        for program in programs:
            await program.ready(within=60)
        await publish(broker, messages)
        await drained(broker, within=LONG)
        found = [letter async for letter in letters(broker)]
        return found, await users_of(store), [code for p in programs for code in p.exits]


@pytest.mark.parametrize("replicas", [1, 2])
async def test_killers_are_set_aside_and_whoever_was_beside_them_is_not(
    tmp_path, store, dice, size, goal, replicas
):
    killers, innocent = size(smoke=2, full=5), size(smoke=40, full=200)
    messages, guilty = crowd(killers, innocent, dice)

    found, users, deaths = await run(tmp_path, store, messages, replicas)

    print(f"\n  {killers} killers beside {innocent}: {dict(Counter(deaths))} deaths")
    goal(
        f"R11-killers-{replicas}",
        len(found),
        f"exactly {killers} set aside",
        hits=len(deaths),
        least=MOST_KILLS * killers,
    )
    assert {letter.message_id for letter in found} == guilty
    assert [letter.reason for letter in found] == ["KILLS_ITS_PROCESS"] * killers
    assert len(users) == innocent
