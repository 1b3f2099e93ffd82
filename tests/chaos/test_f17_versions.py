"""F17: the next contracts beside the previous ones, each as producer and as consumer of the other.

Every service is replaced by its next version while people sign up: first those who listen, then
those who ask, and only then is there anybody who sends what is new. On the way each version
decides about requests of each. The old warehouse keeps what only the new one understands, and the
old mail service and CRM pass it over; of each new user there is one mail and one contact.
"""

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager

from acme.users.v1 import CreateUserRejected, CreateUserRequested
from contract_versions import NEW_REASON, NUMBER, previous, upcoming
from deltalake import DeltaTable
from listeners import caught_up, listening
from runner import Run
from seaway.jetstream import JetStream
from sign_ups import a_request, errors_of
from waiting import until

OLD, NEW = "1.0.0", "1.1.0"
SOFT = {"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"}
"""What a client tries again, as in F18."""
REFERRER = bytes([NUMBER << 3 | 2, 6]) + b"friend"
"""The new field, as only a new client knows to write it."""
TAKEN = "taken@example.org"
CONSUMERS = ("user-creation", "welcome-email", "data-warehouse", "crm")
BUILD = re.compile(r'seaway_build_info\{service="([\w-]+)",version="([\w.]+)"\} 1')


def an_old_client(dice):
    """Ask for an address that somebody has, half of the time: rejections tell who decided.

    By luck, and not every other time: two idle workers take turns, so one would decide them all.
    """
    return lambda: a_request(email=dice.choice([TAKEN, None]))


def a_new_client(dice):
    """The same, with the new field."""
    ask = an_old_client(dice)

    def request():
        asked = ask()
        asked.MergeFromString(REFERRER)
        return asked

    return request


async def pairs(broker):
    """How often which version has decided about a request of which: (asked, decided)."""
    rejected = [stored async for stored in broker.scan("USERS", "users.v1.create-rejected.*")]
    asked = {}
    async for stored in broker.scan("USERS", "users.v1.create-requested.*"):
        request = CreateUserRequested.FromString(stored.data)
        asked[request.request_id] = NEW if REFERRER in stored.data else OLD
    found = Counter()
    for stored in rejected:
        outcome = CreateUserRejected.FromString(stored.data)
        decided = NEW if outcome.reason == NEW_REASON else OLD
        found[asked[outcome.request_id], decided] += 1
        # The field that is new goes on only where both know of it.
        assert (REFERRER in stored.data) == ((asked[outcome.request_id], decided) == (NEW, NEW))
    return found


async def shown(run):
    """Which versions of which service the metrics of all that consume show."""
    asked = [asyncio.to_thread(each.asked, "/metrics") for each in run.system.workers]
    return {found for _, text in await asyncio.gather(*asked) for found in BUILD.findall(text)}


async def each_once(them, broker):
    """Whether there is one mail and one contact of each new user; return how many there are."""
    confirmed = await broker.counts("USERS", "users.v1.create-confirmed.*")
    greeted = [to for _, (to,) in them.server.envelopes if to != TAKEN]
    assert len(greeted) == len(set(greeted))
    assert {*greeted, TAKEN} == them.fake.contacts.keys()
    return len(confirmed) == len(them.fake.contacts)


async def replaced(run, program, path):
    """Roll one service to another version, and wait until it works."""
    run.fault(f"{program.name} replaced")
    program.settings["PYTHONPATH"] = path
    assert await program.stop() == 0
    await program.call("prepare")
    await program.start()
    await program.ready()


@asynccontextmanager
async def system(folder, store, path):
    """Two gateways, two user-creations and the listeners, all of one version, and a client."""
    settings = {"PYTHONPATH": path, "SEAWAY_WAREHOUSE_BATCH_SECONDS": "0.2"}
    async with (
        Run(folder, store, gateways=2, workers=2, PYTHONPATH=path) as run,
        listening(run, **settings) as them,
        JetStream(run.system.server.url, "test") as broker,
    ):
        await broker.connected()
        yield run, them, broker


async def decided(broker, least, *wanted):
    """Wait until each of these pairs was seen so often."""
    found = {}

    async def seen():
        found.update(await pairs(broker))
        return all(found.get(pair, 0) >= least for pair in wanted)

    try:
        await until(seen, 120, every=2)
    except TimeoutError:
        raise AssertionError(f"{wanted} at least {least} times, but {found}") from None


async def test_each_version_handles_what_the_other_says(tmp_path, store, goal, size, dice, capsys):
    old, new = previous(tmp_path / "previous", OLD), upcoming(tmp_path / "upcoming", NEW)
    least = size(smoke=3, full=50)
    async with system(tmp_path, store, old) as (run, them, broker):
        first, second, *listeners = run.system.workers
        async with run.load(per_second=size(smoke=6, full=20), ask=an_old_client(dice)):
            await replaced(run, first, new)
            await decided(broker, least, (OLD, OLD), (OLD, NEW))
            old_ones = {(service, OLD) for service in CONSUMERS}
            assert await shown(run) == old_ones | {("user-creation", NEW)}
            for gateway in run.system.gateways:
                await replaced(run, gateway, new)
            # Not as often as the others: of equally many, two workers that take turns decide about
            # one kind each (tried).
            async with run.load(per_second=size(smoke=3, full=15), ask=a_new_client(dice)):
                await decided(broker, least, (NEW, OLD), (NEW, NEW))
                await until(lambda: asyncio.to_thread(kept_by_number, tmp_path), 120, every=2)
                for program in (*listeners, second):
                    await replaced(run, program, new)
        assert await run.check() == len(run.history)
        await caught_up(run)
        found, rows = await pairs(broker), await asyncio.to_thread(rejections, tmp_path)
        assert await shown(run) == {(service, NEW) for service in CONSUMERS}
        assert await each_once(them, broker)
    with capsys.disabled():
        print(f"\n  {run.summary()}\n  asked, decided: {dict(found)}\n  rows: {dict(rows)}")
    assert errors_of(run.history).keys() <= SOFT
    # An old warehouse keeps the number of a reason, and of the new field nothing but the hash.
    assert rows["REASON_NOT_WELCOME", "friend"]
    assert rows.total() == found.total()
    goal("F17 pairs of versions", len(found), "4 of 4", hits=min(found.values()), least=least)


def table_in(folder):
    return str(folder / "warehouse/users")


def rejections(folder):
    """How many rejections the table has, by what it holds of the reason and of the new field."""
    rows = DeltaTable(table_in(folder)).to_pyarrow_table().to_pylist()
    return Counter(
        (row["reason"], row.get("referrer") or None)
        for row in rows
        if row["type"] == "CreateUserRejected"
    )


def kept_by_number(folder):
    """Whether there is a row of a reason that whoever wrote it has no name for."""
    return rejections(folder)[str(NEW_REASON), None]
