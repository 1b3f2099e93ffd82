"""Places in a stream: where a moment lies, where a durable and a follower begin."""

import asyncio

import pytest
from brokers import a_posting, a_spec, numbered
from seaway.errors import BrokerUnavailable, TopologyError

WITHIN = 30.0


async def test_a_moment_is_the_place_of_the_first_message_from_then_on(broker):
    for posting in numbered(4):
        await broker.publish([posting])
    kept = [stored async for stored in broker.scan("TEST", "test.v1.>")]
    for moment in {stored.at for stored in kept}:
        # Two may be stored in the same microsecond.
        first = next(stored.sequence for stored in kept if stored.at >= moment)
        assert await broker.place_at("TEST", moment) == first


async def test_what_was_removed_is_no_place(broker):
    await broker.publish(numbered(2))
    first = await broker.read("TEST", "test.v1.done.00000")
    await broker.remove("TEST", first.sequence)
    assert await broker.place_at("TEST", first.at) == 2


async def test_after_the_last_message_there_is_no_place(broker):
    await broker.publish([a_posting("key-1")])
    last = await broker.read("TEST", "test.v1.done.key-1")
    await broker.remove("TEST", last.sequence)
    assert await broker.place_at("TEST", last.at) is None


async def test_what_comes_next_is_the_first_that_fits(broker):
    await broker.publish([*numbered(2), *numbered(2, "other")])
    assert (await broker.next_after("TEST", "test.v1.>", 0)).sequence == 1
    assert (await broker.next_after("TEST", "test.v1.other.*", 0)).sequence == 3
    there = await broker.next_after("TEST", "test.v1.>", 3)
    assert there == await broker.read("TEST", "test.v1.other.00001")
    assert await broker.next_after("TEST", "test.v1.>", 4) is None
    assert await broker.next_after("TEST", "test.v1.nothing.*", 0) is None


async def test_what_comes_after_a_place_is_counted(broker):
    await broker.publish([*numbered(3), *numbered(2, "other"), *numbered(4, "third")])
    await broker.remove("TEST", 7)
    for subjects, after, number in [
        ("test.v1.>", 0, 8),
        ("test.v1.>", 3, 5),
        ("test.v1.>", 6, 2),
        ("test.v1.>", 9, 0),
        ("test.v1.other.*", 0, 2),
        ("test.v1.other.*", 4, 1),
        ("test.v1.other.*", 5, 0),
        ("test.v1.nothing.*", 0, 0),
    ]:
        assert await broker.count_after("TEST", subjects, after) == number


async def test_a_moment_of_a_stream_that_is_not_there_says_so(broker):
    await broker.publish([a_posting("key-1")])
    stored = await broker.read("TEST", "test.v1.done.key-1")
    with pytest.raises(BrokerUnavailable):
        await broker.place_at("NOBODY", stored.at)


async def test_where_a_durable_began_cannot_be_changed(broker, durable):
    await durable()
    with pytest.raises(TopologyError, match="deliver policy can not be updated"):
        await broker.put_durable("TEST", a_spec(start="now").config())


async def test_a_durable_that_is_not_there_cannot_be_deleted(broker):
    with pytest.raises(TopologyError):
        await broker.delete_durable("TEST", "nobody")


async def test_who_begins_to_follow_during_an_outage_is_told_what_comes_after_it(place, broker):
    await place.fail()
    with pytest.raises(BrokerUnavailable):
        await broker.read("TEST", "test.v1.done.key-1")
    told, follows = asyncio.Queue(), asyncio.Event()

    async def follow():
        async with broker.follow("test.v1.done.*", told.put_nowait, lambda: None):
            follows.set()
            await asyncio.Event().wait()

    following = asyncio.create_task(follow())
    try:
        await asyncio.sleep(0)  # it waits now
        assert not follows.is_set()
        await place.mend()
        async with asyncio.timeout(WITHIN):
            await follows.wait()
            await (await place.another_client()).publish([a_posting("key-1")])
            assert (await told.get()).subject == "test.v1.done.key-1"
    finally:
        following.cancel()
