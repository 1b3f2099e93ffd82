"""To whom a broker hands what, how often, and until when."""

import asyncio
import time

import pytest
from brokers import a_posting, numbered
from seaway.errors import DurableGone

NOW = 0.0
SOON = 2.0


async def fetched(pull, count):
    """Return the next `count` deliveries, however many fetches it takes."""
    deliveries = []
    async with asyncio.timeout(10):
        while len(deliveries) < count:
            deliveries += await pull.fetch(count - len(deliveries), SOON)
    return deliveries


async def nothing(pull):
    return await pull.fetch(10, NOW) == []


async def in_hand(broker, count):
    """Wait until so many deliveries are unsettled: nobody waits for an ack to be read."""
    async with asyncio.timeout(SOON):
        # Another process decides when; it tells nobody.
        while (await broker.durables("TEST"))["worker"].ack_pending != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


async def test_messages_come_in_the_order_in_which_they_were_stored(broker, durable):
    for posting in numbered(20):
        await broker.publish([posting])
    async with broker.pull("TEST", await durable()) as pull:
        deliveries = await fetched(pull, 20)
    assert [delivery.sequence for delivery in deliveries] == list(range(1, 21))
    assert [delivery.subject for delivery in deliveries] == [p.subject for p in numbered(20)]
    assert {delivery.attempt for delivery in deliveries} == {1}
    assert deliveries[0].headers == {"ce-id": "id-00000", "ce-type": "test"}
    assert deliveries[0].at == (await broker.read("TEST", "test.v1.done.00000")).at


async def test_a_fetch_waits_for_the_next_message(broker, durable):
    async with broker.pull("TEST", await durable()) as pull:
        fetch = asyncio.create_task(pull.fetch(10, SOON))
        await broker.publish([a_posting("key-1")])
        [delivery] = await fetch
    assert delivery.data == b"data"


async def test_a_durable_from_the_beginning_sees_everything(broker, durable):
    await broker.publish(numbered(3))
    async with broker.pull("TEST", await durable(start="beginning")) as pull:
        assert len(await fetched(pull, 3)) == 3


async def test_a_durable_from_now_on_sees_only_what_is_new(broker, durable):
    await broker.publish(numbered(3))
    name = await durable(start="now")
    await broker.publish([a_posting("new")])
    async with broker.pull("TEST", name) as pull:
        assert [delivery.subject for delivery in await fetched(pull, 1)] == ["test.v1.done.new"]
        assert await nothing(pull)


async def test_a_durable_is_given_only_what_it_listens_to(broker, durable):
    await broker.publish([a_posting("key-1", fact="other"), a_posting("key-1")])
    async with broker.pull("TEST", await durable()) as pull:
        assert [delivery.subject for delivery in await fetched(pull, 1)] == ["test.v1.done.key-1"]
        assert await nothing(pull)


async def test_two_workers_share_a_durable(place, broker, durable):
    name, other = await durable(), await place.another_client()
    await broker.publish(numbered(20))
    async with broker.pull("TEST", name) as mine, other.pull("TEST", name) as yours:
        seen = [*await fetched(mine, 10), *await fetched(yours, 10)]
        assert sorted(delivery.sequence for delivery in seen) == list(range(1, 21))
        assert await nothing(mine)
        assert await nothing(yours)


async def test_two_durables_are_both_given_everything(broker, durable):
    await broker.publish(numbered(5))
    for name in ("first", "second"):
        async with broker.pull("TEST", await durable(name)) as pull:
            assert [d.sequence for d in await fetched(pull, 5)] == [1, 2, 3, 4, 5]


async def test_what_is_acked_does_not_come_again(broker, durable):
    await broker.publish(numbered(2))
    async with broker.pull("TEST", await durable(ack_wait=0.5)) as pull:
        first, second = await fetched(pull, 2)
        await first.ack()
        [again] = await fetched(pull, 1)
    assert again.sequence == second.sequence


async def test_what_is_not_settled_within_ack_wait_comes_again(broker, durable):
    await broker.publish([a_posting("key-1")])
    async with broker.pull("TEST", await durable(ack_wait=0.5)) as pull:
        [first] = await fetched(pull, 1)
        assert await nothing(pull)
        [second] = await fetched(pull, 1)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.data == second.data


async def test_a_nak_brings_it_again_at_once(broker, durable):
    await broker.publish([a_posting("key-1")])
    async with broker.pull("TEST", await durable()) as pull:
        for attempt in (1, 2, 3):
            [delivery] = await pull.fetch(1, SOON)
            assert delivery.attempt == attempt
            await delivery.nak()


async def test_a_nak_with_a_delay_brings_it_again_after_the_delay(broker, durable):
    await broker.publish([a_posting("key-1")])
    async with broker.pull("TEST", await durable()) as pull:
        [delivery] = await fetched(pull, 1)
        await delivery.nak(0.5)
        since = time.monotonic()
        [again] = await pull.fetch(1, 8.0)
    assert again.attempt == 2
    assert 0.4 < time.monotonic() - since < 6


async def test_what_is_termed_never_comes_again(broker, durable):
    await broker.publish(numbered(2))
    async with broker.pull("TEST", await durable(ack_wait=0.5)) as pull:
        first, second = await fetched(pull, 2)
        await first.term("UNDECODABLE")
        [again] = await fetched(pull, 1)
        await again.ack()
        assert again.sequence == second.sequence
    assert await in_hand(broker, 0)


async def test_work_in_progress_is_not_given_to_others(broker, durable):
    await broker.publish(numbered(2))
    async with broker.pull("TEST", await durable(ack_wait=0.6)) as pull:
        kept, dropped = await fetched(pull, 2)
        await asyncio.sleep(0.4)  # not to wait for something: the ack wait itself is tested
        await kept.in_progress()
        [again] = await pull.fetch(10, 0.4)
        assert again.sequence == dropped.sequence
        await kept.ack()
        await again.ack()
        assert await nothing(pull)


async def test_a_closed_pull_fetches_no_more_and_others_go_on(place, broker, durable):
    name, other = await durable(), await place.another_client()
    await broker.publish(numbered(4))
    async with broker.pull("TEST", name) as mine, other.pull("TEST", name) as yours:
        [held] = await fetched(mine, 1)
        await mine.close()
        assert await mine.fetch(10, SOON) == []
        assert [delivery.sequence for delivery in await fetched(yours, 3)] == [2, 3, 4]
        await held.ack()
    assert await in_hand(broker, 3)


async def test_closing_a_pull_ends_its_fetch_and_loses_nothing(place, broker, durable):
    name, other = await durable(), await place.another_client()
    async with broker.pull("TEST", name) as mine, other.pull("TEST", name) as yours:
        fetch = asyncio.create_task(mine.fetch(10, 30.0))
        for _ in range(5):  # round trips, during which the broker has heard of the fetch
            await broker.read("TEST", "test.v1.done.nobody")
        await mine.close()
        assert await fetch == []
        await broker.publish(numbered(3))
        assert [(d.sequence, d.attempt) for d in await fetched(yours, 3)] == [
            (1, 1),
            (2, 1),
            (3, 1),
        ]


async def test_a_durable_that_is_not_there_is_an_error(broker):
    async with broker.pull("TEST", "nobody") as pull:
        with pytest.raises(DurableGone, match="nobody"):
            await pull.fetch(1, SOON)


async def test_a_durable_that_is_deleted_is_an_error_at_the_next_fetch_at_the_latest(
    broker, durable
):
    async with broker.pull("TEST", await durable()) as pull:
        assert await nothing(pull)
        await broker.delete_durable("TEST", "worker")
        with pytest.raises(DurableGone, match="worker"):
            await fetched(pull, 1)
