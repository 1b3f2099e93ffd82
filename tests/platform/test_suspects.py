"""A process dies, and who was it? Suspects are tried alone, and the innocent are handled."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from acme.users.v1 import CreateUserRejected, CreateUserRequested
from seaway import Service
from seaway.breaker import Breaker
from seaway.consumer import Consumer
from seaway.database import Database, SqlInbox, trials_table
from seaway.dead_letters import DEAD, letters
from seaway.inbox import MemoryInbox, Trials
from seaway.outcome import RetryPolicy
from seaway.room import Room
from seaway.suspects import MOST_KILLS, Suspect, told_apart
from seaway.testing import MemoryBroker
from seaway.topology import apply, declared
from sqlalchemy import select
from structlog.testing import capture_logs
from user_creation.users import MIGRATIONS
from waiting import until
from workers import USERS, a_request, posting_of

LONG = 60.0
"""Seconds in which everything here has happened on any machine."""


@pytest.fixture(autouse=True)
def logs():
    with capture_logs() as logs:
        yield logs


class Dies(BaseException):
    """Like a process that dies: nobody catches it, and nothing more is written."""


class Hands:
    """What handlers have in hand, and whom each has met."""

    def __init__(self):
        self.now = Counter()
        self.met = {}
        self.done = []

    async def hold(self, name, turns=20):
        self.now[name] += 1
        met = self.met.setdefault(name, set())
        try:
            for _ in range(turns):
                met |= {*+self.now} - {name}
                await asyncio.sleep(0)
            self.done.append(name)
        finally:
            self.now[name] -= 1


def listening(inbox, handle, *messages):
    """A service that handles messages of each type for itself, and its subscriptions."""
    service = Service("greeter", inbox)
    for message in messages:
        service.on(message)(handle)
    return service


async def consumers_of(broker, service, room=None):
    """What a process has: a consumer for each subscription, and one room."""
    await apply(broker, declared([DEAD, USERS], service.subscriptions))
    room, policy = room or Room(), RetryPolicy(delays=(0.0,))
    return [
        Consumer(
            replace(subscription, policy=policy),
            broker,
            service.inbox,
            breaker=Breaker(pauses=(0.0,)),
            room=room,
        )
        for subscription in service.subscriptions
    ]


async def lived(consumers, broker):
    """Run as a process does, until nothing is left to do. Says whether it lived to see that."""
    stopping, survived = asyncio.Event(), True
    try:
        async with asyncio.TaskGroup() as tasks:
            for consumer in consumers:
                tasks.create_task(consumer.run(stopping))
            await until(lambda: not broker.unsettled(), LONG)
            stopping.set()
    except* Dies:
        survived = False
    return survived


# Who is suspect


class Delivered:
    """As much of a delivery as it takes."""

    def __init__(self, id):
        self.headers = {"ce-id": id}


def test_only_who_was_there_when_a_process_died_is_suspect_and_the_worst_comes_last():
    innocent, failing, once, twice, sentenced = deliveries = [Delivered(c * 20) for c in "abcde"]
    trouble = {
        "b" * 20: Trials(failures=9),
        "c" * 20: Trials(kills=1),
        "d" * 20: Trials(kills=2),
        "e" * 20: Trials(kills=MOST_KILLS + 1),
    }
    others, suspects = told_apart(deliveries[::-1], trouble)
    assert others == [innocent, failing, sentenced]
    assert suspects == [Suspect(once, 1), Suspect(twice, 2)]


# How they are tried


class Recalling(MemoryInbox):
    """An inbox that says of some messages that a process died of them."""

    def __init__(self, *suspects):
        super().__init__()
        self.suspects = {suspect.request_id for suspect in suspects}

    async def trouble(self, durable, message_ids):
        return {id: Trials(kills=1) for id in message_ids if id in self.suspects}


async def come_again(broker, durable):
    """Have all that is there delivered again."""
    async with broker.pull("USERS", durable) as pull:
        for delivery in await pull.fetch(1000, 0):
            await delivery.nak()


async def test_a_suspect_is_tried_with_nothing_else_in_hand():
    suspects = [a_request(f"suspect {n}") for n in range(3)]
    others = [a_request(f"n{n}") for n in range(40)]
    broker, hands = MemoryBroker(hurried=True), Hands()

    async def handle(message):
        await hands.hold(message.body.display_name)

    service = listening(Recalling(*suspects), handle, CreateUserRequested)
    [consumer] = await consumers_of(broker, service)
    await broker.publish([posting_of(each) for each in suspects])
    await come_again(broker, consumer.subscription.durable)
    await broker.publish([posting_of(each) for each in others])
    await lived([consumer], broker)
    assert sorted(hands.done) == sorted(each.display_name for each in [*suspects, *others])
    for suspect in suspects:
        assert hands.met[suspect.display_name] == set()
    # … which means something only if the others were together.
    assert len(hands.met["n20"]) > 5


async def test_a_suspect_of_one_durable_is_not_tried_beside_another_durables_messages():
    """A process has one life, whatever it listens to."""
    suspect = a_request("suspect")
    rejections = [
        CreateUserRejected(request_id=a_request().request_id, reason=1, email=f"n{n}@example.org")
        for n in range(40)
    ]
    broker, hands = MemoryBroker(hurried=True), Hands()

    async def handle(message):
        await hands.hold(getattr(message.body, "display_name", message.body.email))

    service = listening(Recalling(suspect), handle, CreateUserRequested, CreateUserRejected)
    consumers = await consumers_of(broker, service)
    await broker.publish([posting_of(suspect)])
    await come_again(broker, consumers[0].subscription.durable)
    await broker.publish([posting_of(each) for each in rejections])
    await lived(consumers, broker)
    assert len(hands.done) == 41
    assert hands.met["suspect"] == set()


async def test_while_others_take_long_a_suspect_gives_way_again_and_again():
    suspect, slow = a_request("suspect"), a_request("slow")
    broker, hands, go_on = MemoryBroker(hurried=True), Hands(), asyncio.Event()
    vain = []

    class Watched(Room):
        def too_soon(self, pause):
            vain.append(self._waits > self.patience)
            if sum(vain) > 3:
                go_on.set()
            return super().too_soon(pause)

    async def handle(message):
        if message.body.display_name == "slow":
            await go_on.wait()
        await hands.hold(message.body.display_name)

    service = listening(Recalling(suspect), handle, CreateUserRequested)
    [consumer] = await consumers_of(broker, service, Watched(patience=0.001))
    await broker.publish([posting_of(suspect)])
    await come_again(broker, consumer.subscription.durable)
    await broker.publish([posting_of(slow), *(posting_of(a_request(f"n{n}")) for n in range(9))])
    await lived([consumer], broker)
    assert hands.done[-2:] == ["slow", "suspect"]
    assert len(hands.done) == 11


# A process dies


@pytest.fixture
async def database(database_url):
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        await database.migrate()
        yield database


def come_again_now(broker):
    """Let the ack wait of all that is in hand be over."""
    for durable in broker._durables.values():
        for lease in durable.in_hand.values():
            lease.again_at = 0.0


async def on_record(database):
    async with database.reading() as connection:
        return {row.message_id for row in await connection.execute(select(trials_table))}


async def test_of_killers_among_the_slow_exactly_the_killers_are_set_aside(database):
    """All are in hand together when the process dies, over and over, and none is prejudged."""
    killers = [a_request(f"killer {n}") for n in range(2)]
    innocent = [a_request(f"n{n}") for n in range(12)]
    broker, hands, deaths, accused = MemoryBroker(hurried=True), Hands(), [], set()

    async def handle(message):
        if message.body.display_name.startswith("killer"):
            deaths.append(message.body.display_name)
            raise Dies
        await hands.hold(message.body.display_name, turns=100)

    def process():
        return listening(SqlInbox(database), handle, CreateUserRequested)

    await apply(broker, declared([DEAD, USERS], process().subscriptions))
    await broker.publish([posting_of(each) for each in [*killers, *innocent]])
    while not await lived(await consumers_of(broker, process()), broker):
        accused |= await on_record(database)
        come_again_now(broker)

    found = {letter.message_id: letter.reason async for letter in letters(broker)}
    assert found == {each.request_id: "KILLS_ITS_PROCESS" for each in killers}
    assert sorted(hands.done) == sorted(each.display_name for each in innocent)
    # … which means something only if innocent ones were on record when a process died.
    assert accused - {each.request_id for each in killers}
    assert len(deaths) <= len(killers) * (MOST_KILLS + 2)
