"""Poison among good messages: it is set aside, with the right reason, and nothing else is.

What cannot be read, what breaks the rules, what waits or computes for ever, what kills its
process. The service is our own for that (tests/support/perilous); the real one has no such
handler.
"""

import statistics
from collections import Counter
from itertools import cycle

from backlogs import drained
from invariants import users_of
from poison import (
    PERILOUS,
    against_the_rules,
    huge,
    invalid_utf8,
    named,
    of_another_type,
    opening,
    publish,
    undecodable,
)
from processes import Program, free_ports, supervised
from seaway.dead_letters import letters
from seaway.jetstream import JetStream
from seaway.testing import nats_server

SHARE = 100
"""One message in so many is poison."""
CHEAP = {
    undecodable: "UNDECODABLE",
    of_another_type: "UNKNOWN_TYPE",
    huge: "UNDECODABLE",
    invalid_utf8: "UNDECODABLE",
    against_the_rules: "INVALID",
}
DEAR = {
    named("wait"): "FAILED_TOO_OFTEN",
    named("compute"): "KILLS_ITS_PROCESS",
    named("abort"): "KILLS_ITS_PROCESS",
}
"""Each of the killers costs seven processes, so there is one of each in either size."""
KILLS = 6
"""So many of a message alone are needed to condemn it; one more was in company."""


def mixed(count, dice):
    """So many messages, one in a hundred poison, mixed; and the reason of each poison by id."""
    reasons, messages = {}, []
    kinds = list(DEAR.items())
    kinds += [kind for _, kind in zip(range(count // SHARE), cycle(CHEAP.items()), strict=False)]
    for peril, reason in kinds:
        message = peril()
        reasons[message[2]["ce-id"]] = reason
        messages.append(message)
    for _ in range(count - len(messages)):
        posting = opening()
        messages.append((posting.subject, posting.data, posting.headers))
    dice.shuffle(messages)
    return messages, reasons


async def delays(broker):
    """Seconds from each request to its outcome, both as stored; and when the last one was."""
    asked, taken, last = {}, [], None
    async for message in broker.scan("USERS", "users.v1.>"):
        subject, _, key = message.subject.rpartition(".")
        if subject.endswith("requested"):
            asked[key] = message.at
        else:
            taken.append((message.at - asked[key]).total_seconds())
            last = message.at
    return sorted(taken), last


async def run(folder, messages, size):
    """Let a real process work through them; return letters, users, delays and its deaths."""
    [port] = free_ports(1)
    store = f"sqlite+aiosqlite:///{folder}/store.db"
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        settings = {
            "SEAWAY_NATS_URL": server.url,
            "SEAWAY_DATABASE_URL": store,
            # As the platform's own, 30 s, one in full size would take four minutes by itself.
            "SEAWAY_HANDLER_SECONDS": str(size(smoke=1, full=5)),
            "SEAWAY_BLOCKED_SECONDS": str(size(smoke=1, full=5)),
            "PERILOUS_ACK_WAIT": str(size(smoke=1, full=5)),
            "PYTHONPATH": str(PERILOUS),
        }
        async with Program("perilous", settings, folder, port) as program, supervised([program]):
            await program.ready()
            await publish(broker, messages)
            await drained(broker, within=3000)
            found = [letter async for letter in letters(broker)]
            return found, await users_of(store), await delays(broker), program.exits


async def test_poison_is_set_aside_and_the_rest_flows(tmp_path, dice, size, goal):
    count = size(smoke=1_500, full=10_000)
    messages, reasons = mixed(count, dice)
    good = count - len(reasons)

    found, users, (taken, last), exits = await run(tmp_path, messages, size)

    p50, p99 = statistics.median(taken), taken[int(len(taken) * 0.99)]
    print(f"\n  {len(reasons)} poison of {count}, {len(found)} set aside; {len(exits)} deaths")
    print(f"  {dict(Counter(letter.reason for letter in found))}")
    print(f"  the others: p50 {p50:.2f} s, p99 {p99:.2f} s, longest {taken[-1]:.2f} s")
    killers = sum(reason == "KILLS_ITS_PROCESS" for reason in reasons.values())
    least = KILLS * killers
    goal("R11", len(found), f"exactly {len(reasons)} set aside", hits=len(exits), least=least)
    verdict = min(each.last_at for each in found if each.reason == "KILLS_ITS_PROCESS")
    early = (verdict - last).total_seconds()
    goal("R11-early", round(early, 1), "> 0 s: the rest is done before a verdict", hits=1, least=1)
    assert {letter.message_id: letter.reason for letter in found} == reasons
    assert len(found) == len(reasons)
    assert len(taken) == len(users) == good
    assert early > 0
