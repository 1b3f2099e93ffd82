"""Poison among good messages: it is set aside, with the right reason, and nothing else is.

What cannot be read, what breaks the rules, what waits or computes for ever, what kills its
process. The service is our own for that (tests/support/perilous); the real one has no such
handler.
"""

import statistics
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, islice

import pytest
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
PER_SECOND = 200
"""Messages. What others suffer is seen while they come, not when all wait for the last."""
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


def mixed(count, dice, kinds):
    """So many messages, these among them, mixed; and the reason of each poison by its id."""
    reasons, messages = {}, []
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
    """Seconds from each request to its outcome, both as stored, the shortest first."""
    asked, taken = {}, []
    async for message in broker.scan("USERS", "users.v1.>"):
        subject, _, key = message.subject.rpartition(".")
        if subject.endswith("requested"):
            asked[key] = message.at
        else:
            taken.append((message.at - asked[key]).total_seconds())
    return sorted(taken)


@dataclass
class Found:
    """What came of a run."""

    letters: list
    users: list
    taken: list[float]
    """Seconds that each of those took that are no poison."""
    deaths: list[int]

    @property
    def p99(self):
        return self.taken[int(len(self.taken) * 0.99)]

    def __str__(self):
        p50, longest = statistics.median(self.taken), self.taken[-1]
        reasons = dict(Counter(letter.reason for letter in self.letters))
        return (
            f"{len(self.taken)} others: p50 {p50:.3f} s, p99 {self.p99:.3f} s, longest "
            f"{longest:.2f} s; set aside {reasons}; {len(self.deaths)} deaths"
        )

    def is_exactly(self, reasons, good):
        """Fail unless the poison is set aside, each for its reason, and nothing else is."""
        assert {letter.message_id: letter.reason for letter in self.letters} == reasons
        assert len(self.letters) == len(reasons)
        assert len(self.taken) == len(self.users) == good


async def run(folder, messages, size):
    """Let a real process work through them as they come; return what came of it."""
    folder.mkdir()
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
            await program.ready(within=60)
            await publish(broker, messages, PER_SECOND)
            await drained(broker, within=3000)
            found = [letter async for letter in letters(broker)]
            users, taken = await users_of(store), await delays(broker)
            return Found(found, users, taken, list(program.exits))


@pytest.mark.timeout(3600)
async def test_poison_is_set_aside_and_the_rest_flows(tmp_path, dice, size, goal):
    """First no poison, then some that can be seen, then some of which the process dies, too."""
    count = size(smoke=600, full=10_000)
    cheap = list(islice(cycle(CHEAP.items()), count // SHARE))
    found, least = {}, KILLS * sum(reason == "KILLS_ITS_PROCESS" for reason in DEAR.values())
    for name, kinds in {"none": [], "cheap": cheap, "dear": [*cheap, *DEAR.items()]}.items():
        messages, reasons = mixed(count, dice, kinds)
        found[name] = await run(tmp_path / name, messages, size)
        print(f"\n  poison: {name}, {len(kinds)} of {count}; {found[name]}")
        found[name].is_exactly(reasons, count - len(kinds))

    none, some, dear = found.values()
    deaths = len(dear.deaths)
    poison = len(some.letters) + len(dear.letters)
    goal("R11", poison, "exactly the poison", hits=poison, least=len(CHEAP))
    ratio = round(some.p99 / none.p99, 2)
    goal("R11-p99", ratio, "<= 1.5 x of no poison", hits=len(cheap), least=len(CHEAP))
    longest = round(some.taken[-1], 2)
    goal("R11-head-of-line", longest, "<= 5 s", hits=len(cheap), least=len(CHEAP))
    ratio = round(dear.p99 / none.p99, 2)
    goal("R11-killers-p99", ratio, "no goal: deaths have a price", hits=deaths, least=least)
    longest = round(dear.taken[-1], 2)
    goal("R11-killers-longest", longest, "no goal, s", hits=deaths, least=least)
