"""What the monitor sees of a real broker, and what it costs the broker."""

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from prometheus_client import REGISTRY
from seaway.contract import address_of
from seaway.dead_letters import DEAD, discard, letters
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from seaway.monitor import Monitor, Rounds, Sight, look
from seaway.testing import MemoryBroker, nats_server
from seaway.topology import DurableSpec, apply, declared
from waiting import until
from workers import DURABLE, Worker, a_request, alien, by_name, posting_of

USERS = address_of(CreateUserRequested).stream


@asynccontextmanager
async def connected(server, name="test"):
    async with JetStream(server.url, name) as broker:
        async with asyncio.timeout(30):
            await broker.connected()
        yield broker


@pytest.fixture
async def server():
    async with nats_server() as server:
        yield server


@pytest.fixture
async def broker(server):
    async with connected(server) as broker:
        yield broker


@pytest.fixture
async def worker(broker):
    return await Worker.made(broker, by_name(), ack_wait=1.0)


async def seen(broker, durable=DURABLE):
    return (await look(broker, ["USERS"], Sight())).backlogs[durable]


def monitor_of(broker, lately=60.0):
    return Monitor(broker, {}, Rounds(60, 600), look_every=0.1, lately=lately)


def exported(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


async def test_nothing_is_audited_before_it_was_seen_what_is_not_settled():
    class Electing(MemoryBroker):
        """One that does not answer the first two looks."""

        asked = 0

        async def streams(self):
            self.asked += 1
            if self.asked <= 2:
                raise BrokerUnavailable("they elect one of them")
            return await super().streams()

    monitor = replace(monitor_of(Electing()), look_every=0.2)
    async with monitor:
        await until(lambda: monitor.rounds.unfinished)
        assert await monitor.goes_on() == ""


async def test_lag_is_the_age_of_the_oldest_message_that_is_not_settled(worker, broker):
    assert (await seen(broker)).lag == 0
    # Not one of its own: it is never handled by it, and counts for nothing.
    await worker.send(CreateUserConfirmed(request_id=a_request().request_id, user_id="u"))
    assert (await seen(broker)).oldest is None
    request = posting_of(a_request())
    await worker.send(request)
    assert (await seen(broker)).oldest == (await broker.read("USERS", request.subject)).at

    async def has_waited():
        return (await seen(broker)).lag >= 3

    await until(has_waited, 60, every=0.1)
    await worker.send(a_request())
    backlog = await seen(broker)
    assert (backlog.unsettled, backlog.lag >= 3) == (2, True)
    await worker.round()
    backlog = await seen(broker)
    assert (backlog.unsettled, backlog.lag, backlog.oldest) == (0, 0, None)


async def test_what_was_delivered_and_not_settled_is_the_oldest_too(worker, broker):
    await worker.send(a_request(), a_request())
    async with broker.pull("USERS", DURABLE) as pull:
        first, second = await pull.fetch(2, 5.0)
        await second.ack()
        await until(lambda: _in_hand(broker, 1), 30)
        backlog = await seen(broker)
        assert backlog.oldest == first.at
        (again,) = await _fetched(pull)
        assert again.attempt == 2
        assert (await seen(broker)).durable.redelivered == 1
        await again.ack()
        await until(lambda: _in_hand(broker, 0), 30)
    assert (await seen(broker)).oldest is None


async def _in_hand(broker, count):
    return (await seen(broker)).durable.ack_pending == count


async def _fetched(pull):
    async with asyncio.timeout(60):
        while not (deliveries := await pull.fetch(1, 2.0)):
            pass
    return deliveries


async def test_a_durable_that_begins_now_is_not_behind_with_what_was_before(worker, broker):
    await worker.send(a_request())
    spec = DurableSpec("late", "late", "USERS", (f"{USERS.subjects}",), "now", 5.0, 1000)
    await apply(broker, declared([USERS], [spec]))
    assert (await seen(broker, "late")).oldest is None
    await worker.send(a_request())
    last = await broker.next_after("USERS", ">", 1)
    assert (await seen(broker, "late")).oldest == last.at
    assert await broker.next_after("USERS", ">", last.sequence) is None


async def test_how_long_it_will_take_is_known_while_it_is_being_done(worker, broker):
    monitor = monitor_of(broker, lately=2.0)
    pace = lambda: monitor.paces[DURABLE]  # noqa: E731
    await worker.send(*(a_request() for _ in range(4)))
    await monitor.look()
    assert math.isnan(exported("seaway_drain_seconds", durable=DURABLE))
    async with broker.pull("USERS", DURABLE) as pull:
        for delivery in await pull.fetch(2, 5.0):
            await delivery.ack()
        await until(lambda: _in_hand(broker, 0), 30)
        await monitor.look()
        assert 0 < pace().drain < math.inf
        assert exported("seaway_durable_pulled", durable=DURABLE) == 1

    async def nobody_comes():
        await monitor.look()
        return pace().drain == math.inf and not pace().is_pulled

    await until(nobody_comes, 60, every=0.1)
    assert exported("seaway_drain_seconds", durable=DURABLE) == math.inf
    assert exported("seaway_durable_pulled", durable=DURABLE) == 0
    assert exported("seaway_pending_messages", durable=DURABLE) == 2
    while await worker.round():
        pass
    await monitor.look()
    assert exported("seaway_drain_seconds", durable=DURABLE) == 0


async def test_dead_letters_that_wait_are_counted_until_somebody_looks_after_them(worker, broker):
    monitor = monitor_of(broker)
    await monitor.look()
    assert exported("seaway_dead_letter_messages", durable=DURABLE) == 0
    await worker.send(alien(), posting_of(a_request()))
    await worker.round()
    await monitor.look()
    assert exported("seaway_dead_letter_messages", durable=DURABLE) == 1
    (letter,) = [letter async for letter in letters(broker)]
    assert await discard(broker, letter)  # which leaves a note, and that is no letter
    await monitor.look()
    assert exported("seaway_dead_letter_messages", durable=DURABLE) == 0


async def test_what_a_stream_keeps_and_may_keep_is_exported(worker, broker):
    await worker.send(a_request())
    await monitor_of(broker).look()
    assert exported("seaway_stream_messages", stream="USERS") == 1
    assert 0 < exported("seaway_stream_bytes", stream="USERS") < 10_000
    assert exported("seaway_stream_max_bytes", stream="USERS") == USERS.max_bytes
    assert exported("seaway_stream_max_age_seconds", stream="USERS") == USERS.max_age
    assert exported("seaway_stream_max_bytes", stream="DEAD") == DEAD.max_bytes
    assert exported("seaway_max_ack_pending_messages", durable=DURABLE) == 1024


async def test_a_broker_without_streams_is_looked_at(broker):
    sight = await look(broker, ["USERS"], Sight())
    assert (sight.streams, sight.backlogs, sight.letters) == ({}, {}, {})
    with pytest.raises(BrokerUnavailable, match="not found"):
        await broker.counts("USERS", ">")


async def test_a_look_costs_the_broker_a_few_requests_however_much_it_keeps(
    server, worker, broker, capsys
):
    asked = []
    monitor = monitor_of(broker)

    async def heard(message):
        asked.append(message.subject.removeprefix("$JS.API."))

    async def so_far():
        # What this connection has sent, the other one has been given once it gets this.
        await broker.connection.send("$JS.API.seen")
        await until(lambda: "seen" in asked, 30)
        told, asked[:] = asked[:-1], []
        return sorted(told)

    async def cost():
        await so_far()
        await monitor.look()
        return await so_far()

    async def all_wait():  # a broker counts what has just come a moment later
        return (await broker.durables("USERS"))[DURABLE].pending == 300

    async with connected(server, "watcher") as watcher:
        await watcher.connection.subscribe("$JS.API.>", heard)
        await watcher.connection.heard_so_far(30)
        idle = await cost()
        assert idle == ["CONSUMER.LIST.USERS", "STREAM.INFO.DEAD", "STREAM.LIST"]
        assert await cost() == ["CONSUMER.LIST.USERS", "STREAM.LIST"]
        await worker.send(*(a_request() for _ in range(300)))
        await until(all_wait, 30)
        busy = await cost()
        assert busy == ["CONSUMER.LIST.USERS", "STREAM.LIST", *["STREAM.MSG.GET.USERS"] * 2]
    with capsys.disabled():
        print(f"\n  a look: 2 requests when idle, {len(busy)} with 300 messages waiting")


async def test_a_broker_that_is_away_is_waited_for(server, worker, broker):
    async with monitor_of(broker) as monitor:
        await until(lambda: DURABLE in monitor.sight.backlogs, 30)
        await server.kill()
        await until(lambda: not broker.connection.up.is_set(), 30)
        looked = monitor.sight.at
        assert await monitor.goes_on() == ""
        await server.restart()
        await until(lambda: monitor.sight.at > looked, 60)
        assert exported("seaway_looked_timestamp_seconds") > looked.timestamp()


async def test_a_monitor_that_has_ended_says_so(worker, broker):
    monitor = monitor_of(broker)
    async with monitor:
        await until(lambda: DURABLE in monitor.sight.backlogs, 30)
        assert await monitor.goes_on() == ""
    assert await monitor.goes_on() == "has ended, which is a bug"
