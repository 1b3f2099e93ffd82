"""What holds while a broker is away and when it is back. The real one is killed with SIGKILL."""

import asyncio
import time

import pytest
from brokers import STREAM, Real, a_posting, numbered
from seaway.broker import Conflict, Receipt
from seaway.errors import BrokerUnavailable
from seaway.topology import stream_config

WITHIN = 10.0


async def persistent(call, *arguments):
    """Call again for as long as the broker is unavailable, as every caller does."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await call(*arguments)
            except BrokerUnavailable:
                await asyncio.sleep(0.02)


async def fetched(pull, count):
    deliveries = []
    async with asyncio.timeout(WITHIN):
        while len(deliveries) < count:
            deliveries += await pull.fetch(count - len(deliveries), 1.0)
    return deliveries


async def test_a_broker_that_is_away_says_so_soon(place, broker):
    await place.fail()
    for call in (broker.publish([a_posting("key-1")]), broker.read("TEST", "test.v1.done.key-1")):
        since = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await call
        assert time.monotonic() - since < 1.5
    await place.mend()
    assert await persistent(broker.read, "TEST", "test.v1.done.key-1") is None


async def test_who_waits_for_an_answer_is_told_at_once_that_the_broker_went():
    async with Real() as place:
        place.server.pause()
        asked = asyncio.create_task(place.broker.read("TEST", "test.v1.done.key-1"))
        published = asyncio.create_task(place.broker.publish([a_posting("key-1")]))
        await asyncio.sleep(0)  # both are waiting now
        await place.server.kill()
        since = time.monotonic()
        for call in (asked, published):
            with pytest.raises(BrokerUnavailable):
                await call
        assert time.monotonic() - since < 0.5


@pytest.mark.parametrize("turns", range(4))
async def test_a_socket_that_was_closed_a_moment_ago_is_an_outage_like_any_other(turns):
    async with Real() as place:
        client = place.broker.connection._client
        client._flusher_task.cancel()
        client._transport._io_writer.transport.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        with pytest.raises(BrokerUnavailable):
            await place.broker.publish([a_posting("key-1")])


async def test_what_failed_is_not_stored_later_behind_our_back(place, broker):
    await place.fail()
    with pytest.raises(BrokerUnavailable):
        await broker.publish([a_posting("key-1")])
    await place.mend()
    assert await persistent(broker.publish, [a_posting("key-2")]) == [Receipt(1)]


async def test_a_subject_is_written_once_across_a_kill(place, broker):
    await broker.publish([a_posting("key-1", b"first")])
    await place.fail()
    await place.mend()
    assert await persistent(broker.publish, [a_posting("key-1", b"first")]) == [
        Receipt(1, repeated=True)
    ]
    [answer] = await broker.publish([a_posting("key-1", b"other")])
    assert isinstance(answer, Conflict)
    assert answer.stored.data == b"first"


async def test_what_was_acknowledged_is_there_after_a_kill(place, broker, durable):
    name = await durable()
    await broker.publish(numbered(300))
    await place.fail()
    await place.mend()
    async with broker.pull("TEST", name) as pull:
        deliveries = await fetched(pull, 300)
    assert [delivery.data for delivery in deliveries] == [b"%d" % n for n in range(300)]


async def test_a_fetch_goes_on_when_the_broker_is_back(place, broker, durable):
    async with broker.pull("TEST", await durable()) as pull:
        waiting = asyncio.create_task(pull.fetch(1, 0.2))
        await place.fail()
        assert await waiting == []
        assert await pull.fetch(1, 0.1) == []
        await place.mend()
        await persistent(broker.publish, [a_posting("key-1")])
        [delivery] = await fetched(pull, 1)
        await delivery.ack()
    assert delivery.subject == "test.v1.done.key-1"


async def test_a_fetch_that_was_open_when_the_broker_went_is_not_left_waiting(
    place, broker, durable
):
    async with broker.pull("TEST", await durable()) as pull:
        waiting = asyncio.create_task(pull.fetch(1, 30.0))
        for _ in range(5):  # round trips, during which the broker has heard of the fetch
            await broker.read("TEST", "test.v1.done.nobody")
        await place.fail()
        await place.mend()
        await persistent(broker.publish, [a_posting("key-1")])
        async with asyncio.timeout(WITHIN):
            deliveries = await waiting or await fetched(pull, 1)
    assert [delivery.subject for delivery in deliveries] == ["test.v1.done.key-1"]


async def test_a_delivery_can_be_settled_after_an_outage(place, broker, durable):
    await broker.publish([a_posting("key-1")])
    async with broker.pull("TEST", await durable(ack_wait=0.5)) as pull:
        [delivery] = await fetched(pull, 1)
        await place.fail()
        with pytest.raises(BrokerUnavailable):
            await delivery.ack()
        await place.mend()
        [again] = await fetched(pull, 1)
        await persistent(again.ack)
        assert await pull.fetch(1, 0.6) == []
    assert again.sequence == delivery.sequence


async def test_a_follower_is_told_that_some_may_be_missing(place, broker):
    told, lost = asyncio.Queue(), asyncio.Event()
    async with broker.follow("test.v1.done.*", told.put_nowait, lost.set):
        await place.fail()
        assert not lost.is_set()
        await place.mend()
        async with asyncio.timeout(WITHIN):
            await lost.wait()
        await persistent(broker.publish, [a_posting("key-1")])
        async with asyncio.timeout(WITHIN):
            assert (await told.get()).subject == "test.v1.done.key-1"


async def test_a_paused_broker_leaves_it_open_whether_it_stored(monkeypatch):
    monkeypatch.setattr("seaway.jetstream.publishing.PUBLISH_WITHIN", 0.5)
    async with Real() as place:
        await place.broker.put_stream(stream_config(STREAM))
        place.server.pause()
        publish = asyncio.create_task(place.broker.publish([a_posting("key-1")]))
        with pytest.raises(BrokerUnavailable):
            await publish
        place.server.resume()
        [answer] = await persistent(place.broker.publish, [a_posting("key-1")])
    assert answer == Receipt(1, repeated=True)
