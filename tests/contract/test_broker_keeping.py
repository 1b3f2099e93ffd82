"""What a stream keeps: reading it without a durable, taking out of it, reading it again."""

import asyncio
from dataclasses import replace

import pytest
from brokers import STREAM, a_posting, a_spec, numbered
from seaway.broker import MAX_MESSAGE_BYTES, MAX_STORED_BYTES, Receipt
from seaway.errors import BrokerUnavailable, DurableGone, TooLarge, TopologyError
from seaway.topology import apply, declared

SOON = 2.0


async def scanned(broker, subjects="test.v1.>", after=0):
    return [stored async for stored in broker.scan("TEST", subjects, after)]


async def fetched(pull, count):
    deliveries = []
    async with asyncio.timeout(10):
        while len(deliveries) < count:
            deliveries += await pull.fetch(count - len(deliveries), SOON)
    return deliveries


async def sequences(pull, count):
    return [delivery.sequence for delivery in await fetched(pull, count)]


async def all_settled(broker, name, sequence):
    async with asyncio.timeout(SOON):
        while not (await broker.durables("TEST"))[name].has_settled(sequence):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# Reading without a durable


async def test_a_scan_shows_what_is_kept_in_order_however_much_it_is(broker):
    await broker.publish(numbered(1203))
    kept = await scanned(broker)
    assert [stored.sequence for stored in kept] == list(range(1, 1204))
    assert [stored.data for stored in kept] == [b"%d" % n for n in range(1203)]
    assert kept[7] == await broker.read("TEST", "test.v1.done.00007")


async def test_a_scan_shows_only_what_fits_and_what_comes_after(broker):
    await broker.publish([*numbered(5), *numbered(5, fact="other")])
    assert [s.sequence for s in await scanned(broker, "test.v1.other.*")] == [6, 7, 8, 9, 10]
    assert [s.sequence for s in await scanned(broker, "test.v1.*.00003")] == [4, 9]
    assert [s.sequence for s in await scanned(broker, after=8)] == [9, 10]
    assert await scanned(broker, after=10) == []
    assert await scanned(broker, "test.v1.nothing.*") == []


async def test_a_scan_of_an_empty_stream_ends(broker):
    assert await scanned(broker) == []


async def test_a_scan_of_a_stream_that_is_not_there_says_so(broker):
    with pytest.raises(BrokerUnavailable):
        [stored async for stored in broker.scan("NOBODY", ">")]


# Taking out


async def test_what_was_removed_is_not_there_any_more(broker, durable):
    await broker.publish(numbered(4))
    assert await broker.remove("TEST", 2)
    assert [stored.sequence for stored in await scanned(broker)] == [1, 3, 4]
    assert await broker.read("TEST", "test.v1.done.00001") is None
    async with broker.pull("TEST", await durable()) as pull:
        assert await sequences(pull, 3) == [1, 3, 4]


async def test_what_is_not_there_cannot_be_removed(broker):
    await broker.publish(numbered(2))
    assert await broker.remove("TEST", 1)
    assert not await broker.remove("TEST", 1)
    assert not await broker.remove("TEST", 99)


async def test_a_subject_is_free_again_when_its_message_was_removed(broker):
    await broker.publish([a_posting("key-1", b"first")])
    await broker.remove("TEST", 1)
    assert await broker.publish([a_posting("key-1", b"second")]) == [Receipt(2)]


async def test_a_number_is_never_given_twice(broker):
    await broker.publish(numbered(3))
    for sequence in (1, 2, 3):
        await broker.remove("TEST", sequence)
    assert await broker.publish([a_posting("key-1")]) == [Receipt(4)]


# Reading again


async def test_a_durable_that_is_wound_back_reads_again_as_if_for_the_first_time(broker, durable):
    await broker.publish(numbered(5))
    name = await durable()
    async with broker.pull("TEST", name) as pull:
        for delivery in await fetched(pull, 5):
            await delivery.ack()
        await all_settled(broker, name, 5)
        config = (await broker.durables("TEST"))[name].config
        await broker.rewind_durable("TEST", name, 3)
        again = await fetched(pull, 3)
    assert [(delivery.sequence, delivery.attempt) for delivery in again] == [
        (3, 1),
        (4, 1),
        (5, 1),
    ]
    assert (await broker.durables("TEST"))[name].config == config


async def test_an_open_fetch_is_given_what_a_durable_reads_again(broker, durable):
    await broker.publish(numbered(5))
    name = await durable()
    async with broker.pull("TEST", name) as pull:
        for delivery in await fetched(pull, 5):
            await delivery.ack()
        await all_settled(broker, name, 5)
        fetch = asyncio.create_task(pull.fetch(10, 5.0))
        for _ in range(5):  # round trips, during which the broker has heard of the fetch
            await broker.read("TEST", "test.v1.done.nobody")
        await broker.rewind_durable("TEST", name, 4)
        assert {delivery.sequence for delivery in await fetch} <= {4, 5}


async def test_a_delivery_from_before_can_be_settled_after_a_durable_was_wound_back(
    broker, durable
):
    await broker.publish(numbered(2))
    name = await durable()
    async with broker.pull("TEST", name) as pull:
        first, second = await fetched(pull, 2)
        await broker.rewind_durable("TEST", name, 1)
        await first.ack()
        await second.nak()
        for delivery in await fetched(pull, 2):
            await delivery.ack()
        await all_settled(broker, name, 2)


async def test_a_durable_from_now_on_is_not_wound_back_to_before_it_began(broker):
    await broker.publish(numbered(3))
    await apply(broker, declared([STREAM], [a_spec(start="now")]))
    await broker.publish(numbered(3, fact="other"))
    await broker.publish([a_posting("late")])
    with pytest.raises(TopologyError):
        await broker.rewind_durable("TEST", "worker", 3)
    async with broker.pull("TEST", "worker") as pull:
        assert await sequences(pull, 1) == [7]
        await broker.rewind_durable("TEST", "worker", 4)
        assert await sequences(pull, 1) == [7]


async def test_a_durable_that_is_not_there_cannot_be_wound_back(broker):
    with pytest.raises(TopologyError):
        await broker.rewind_durable("TEST", "nobody", 1)


async def test_a_durable_that_was_gone_is_found_when_it_is_made_anew(broker, durable):
    await broker.publish(numbered(2))
    async with broker.pull("TEST", await durable()) as pull:
        assert await sequences(pull, 2) == [1, 2]
        await broker.delete_durable("TEST", "worker")
        with pytest.raises(DurableGone):
            await fetched(pull, 1)
        await durable()
        assert await sequences(pull, 2) == [1, 2]


# How large


def of_size(size, **limit):
    posting = a_posting("key-1", b"")
    return replace(posting, data=b"x" * (size - posting.size), **limit)


async def test_what_we_say_is_smaller_than_what_a_stream_takes(broker):
    with pytest.raises(TooLarge):
        await broker.publish([of_size(MAX_MESSAGE_BYTES + 1)])
    assert await broker.publish([of_size(MAX_MESSAGE_BYTES)]) == [Receipt(1)]


async def test_a_stream_takes_what_others_said_up_to_its_own_limit(broker):
    # The size of headers on the wire: a first and a last line of 12 bytes beside ours.
    assert await broker.publish([of_size(MAX_STORED_BYTES - 12, most_bytes=2**20)]) == [Receipt(1)]


async def test_a_stream_refuses_what_is_too_large_and_the_connection_stays(broker):
    with pytest.raises(TooLarge):
        await broker.publish([of_size(MAX_STORED_BYTES + 1, most_bytes=2**20)])
    assert await broker.publish([a_posting("key-2")]) == [Receipt(1)]
