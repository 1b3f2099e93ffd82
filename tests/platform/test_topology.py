"""Streams and durables: what is declared, what the broker has, and what it takes to agree."""

from dataclasses import replace
from datetime import timedelta

import pytest
from brokers import STREAM, InMemory, Real, a_posting, a_spec, numbered
from seaway.errors import TopologyError
from seaway.topology import (
    apply,
    declared,
    drift,
    plan,
    stream_config,
    survey,
    unowned,
)

DAY = 86_400.0
TOPOLOGY = declared([STREAM], [a_spec()])


@pytest.fixture(params=[InMemory, Real], ids=["memory", "jetstream"])
async def broker(request):
    async with request.param() as place:
        yield place.broker


@pytest.fixture
async def nats():
    async with Real() as place:
        await apply(place.broker, TOPOLOGY)
        yield place.broker


async def planned(broker, topology):
    return plan(topology, await survey(broker, topology))


async def the_only_change(broker, topology):
    [change] = await planned(broker, topology)
    return change


# Planning and applying


async def test_the_plan_of_a_fresh_broker_lists_everything(broker):
    assert [change.sentence for change in await planned(broker, TOPOLOGY)] == [
        "create stream TEST on test.v1.>, copies: 1",
        "create durable worker of stream TEST from the beginning on test.v1.done.*",
    ]


async def test_what_was_applied_needs_no_more_changes(broker):
    assert len(await apply(broker, TOPOLOGY)) == 2
    assert await apply(broker, TOPOLOGY) == []
    assert await drift(broker, TOPOLOGY) == []


async def test_where_a_durable_starts_is_not_changed_and_no_difference(broker):
    await apply(broker, TOPOLOGY)
    other = declared([STREAM], [a_spec(start="now", ack_wait=9.0)])
    [change] = await apply(broker, other)
    assert change.sentence == "update durable worker of stream TEST: ack_wait from 5 s to 9 s"
    assert await drift(broker, other) == []


async def test_a_durable_keeps_its_place_when_it_is_updated(broker):
    await apply(broker, TOPOLOGY)
    await broker.publish(numbered(3))
    async with broker.pull("TEST", "worker") as pull:
        assert len(await pull.fetch(2, 1.0)) == 2
        await apply(broker, declared([STREAM], [a_spec(ack_wait=9.0)]))
        assert [delivery.sequence for delivery in await pull.fetch(2, 1.0)] == [3]


async def test_a_change_says_every_value(nats):
    longer = declared([replace(STREAM, max_age=7 * DAY, max_bytes=None)], [a_spec()])
    assert (await the_only_change(nats, longer)).sentence == (
        "update stream TEST: max_age from 1 h to 7 days, max_bytes from 100000000 to no limit"
    )


async def test_what_we_do_not_declare_stays_as_somebody_set_it(nats):
    found = (await nats.streams())["TEST"].config
    await nats.put_stream({**found, "description": "kept", "max_age": 0})
    await apply(nats, TOPOLOGY)
    assert (await nats.streams())["TEST"].config["description"] == "kept"
    assert await drift(nats, TOPOLOGY) == []


async def test_a_durable_made_by_hand_is_brought_into_line(broker):
    await apply(broker, declared([STREAM], []))
    by_hand = a_spec(ack_wait=9.0).config() | {"filter_subject": "test.v1.done.*"}
    by_hand |= {"filter_subjects": [], "metadata": {"team": "ours"}}
    await broker.put_durable("TEST", by_hand)
    await apply(broker, TOPOLOGY)
    assert await drift(broker, TOPOLOGY) == []
    assert (await broker.durables("TEST"))["worker"].config["metadata"]["team"] == "ours"


# What is unsafe


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (replace(STREAM, max_bytes=10), "would store nothing more"),
        (replace(STREAM, once_per_key=False), "would be stored again"),
        (replace(STREAM, subjects="test.v1.done.>"), "nothing would be stored on test.v1.>"),
    ],
    ids=["max_bytes", "once_per_key", "subjects"],
)
async def test_an_unsafe_change_of_a_stream_is_refused_by_name(nats, stream, reason):
    await nats.publish(numbered(3))
    other = declared([stream], [a_spec(), a_spec("second")])
    with pytest.raises(TopologyError) as refused:
        await apply(nats, other)
    assert "update stream TEST: " in str(refused.value)
    assert reason in str(refused.value)
    assert await drift(nats, TOPOLOGY) == []
    assert "second" not in await nats.durables("TEST")
    assert len(await apply(nats, other, allow_unsafe=True)) == 2
    assert await drift(nats, other) == []


async def test_a_shorter_max_age_is_unsafe_once_something_older_is_kept(nats):
    shorter = declared([replace(STREAM, max_age=0.1)], [a_spec()])
    await nats.publish(numbered(1))
    [oldest] = [found.oldest for found in (await nats.streams()).values()]
    later = oldest + timedelta(seconds=0.2)
    found = await survey(nats, shorter)
    assert not plan(shorter, found, now=oldest)[0].is_unsafe
    assert plan(shorter, found, now=later)[0].dangers == (
        "messages older than 0.1 s are deleted at once",
    )
    await apply(nats, shorter, allow_unsafe=True)
    assert await drift(nats, shorter) == []


async def test_bringing_back_the_limit_per_subject_is_unsafe_since_it_deletes(nats):
    found = (await nats.streams())["TEST"].config
    await nats.put_stream(found | {"max_msgs_per_subject": -1, "discard_new_per_subject": False})
    await nats.publish([a_posting("key-1", b"first")])
    await nats.publish([a_posting("key-1", b"last")])
    with pytest.raises(TopologyError, match="all but the last are deleted"):
        await apply(nats, TOPOLOGY)


async def test_bringing_back_a_limit_is_safe_where_nothing_is_kept(nats):
    found = (await nats.streams())["TEST"].config
    await nats.put_stream(found | {"max_msgs_per_subject": -1, "discard_new_per_subject": False})
    assert len(await apply(nats, TOPOLOGY)) == 1


async def test_another_storage_is_unsafe():
    async with Real() as place:
        await place.broker.put_stream(
            {**stream_config(STREAM), "storage": "memory", "max_bytes": 1000}
        )
        with pytest.raises(TopologyError, match="only a new stream can have another storage"):
            await apply(place.broker, TOPOLOGY)


async def test_another_retention_is_unsafe(nats):
    found = (await nats.streams())["TEST"].config
    await nats.put_stream({**found, "retention": "interest"})
    with pytest.raises(
        TopologyError, match="retention from interest to limits: retention decides"
    ):
        await apply(nats, TOPOLOGY)
    assert await apply(nats, TOPOLOGY, allow_unsafe=True)
    assert await drift(nats, TOPOLOGY) == []


async def test_fewer_copies_are_unsafe():
    async with InMemory() as place:
        await apply(place.broker, declared([STREAM], [], replicas=3))
        change = await the_only_change(place.broker, declared([STREAM], [], replicas=1))
    assert change.dangers == ("2 copies of every message are deleted",)


async def test_a_filter_that_strands_a_backlog_is_refused(broker):
    await apply(broker, TOPOLOGY)
    await broker.publish(numbered(3))
    other = declared([STREAM], [a_spec(facts=["other"])])
    with pytest.raises(TopologyError, match="3 messages are pending, and those on"):
        await apply(broker, other)
    assert await drift(broker, TOPOLOGY) == []
    await apply(broker, other, allow_unsafe=True)
    assert await drift(broker, other) == []


async def test_delivered_and_unsettled_messages_are_a_backlog_too(broker):
    await apply(broker, TOPOLOGY)
    await broker.publish(numbered(3))
    async with broker.pull("TEST", "worker") as pull:
        assert len(await pull.fetch(3, 1.0)) == 3
        with pytest.raises(TopologyError, match="3 messages are pending"):
            await apply(broker, declared([STREAM], [a_spec(facts=["other"])]))


async def test_a_filter_without_a_backlog_or_a_wider_one_is_safe(broker):
    await apply(broker, declared([STREAM], [a_spec("idle", facts=["idle"]), a_spec()]))
    await broker.publish(numbered(3))
    specs = [a_spec("idle", facts=["other"]), a_spec(facts=["done", "more"])]
    assert len(await apply(broker, declared([STREAM], specs))) == 2


async def test_a_durable_that_is_no_longer_declared_is_deleted(broker):
    await apply(broker, TOPOLOGY)
    gone = declared([STREAM], [], services=["worker"])
    [change] = await apply(broker, gone)
    assert change.sentence.startswith("delete durable worker of stream TEST")
    assert await broker.durables("TEST") == {}


async def test_a_durable_with_pending_messages_is_not_deleted(broker):
    await apply(broker, TOPOLOGY)
    await broker.publish(numbered(3))
    gone = declared([STREAM], [], services=["worker"])
    async with broker.pull("TEST", "worker") as pull:
        assert len(await pull.fetch(1, 1.0)) == 1
    with pytest.raises(TopologyError, match=r"durable worker .*3 pending messages"):
        await apply(broker, gone)
    assert await apply(broker, gone, allow_unsafe=True)
    assert await broker.durables("TEST") == {}


# Whose durable it is


async def test_durables_of_other_services_are_told_and_left_alone(broker):
    await apply(broker, declared([STREAM], [a_spec("user-creation-x", service="user-creation")]))
    ours = declared([STREAM], [a_spec("user-y", service="user")])
    await apply(broker, ours)
    assert unowned(ours, await survey(broker, ours)) == [
        "durable user-creation-x of stream TEST belongs to none of the services: left alone"
    ]
    assert set(await broker.durables("TEST")) == {"user-creation-x", "user-y"}


async def test_of_a_durable_made_by_hand_the_name_says_whose_it_is(broker):
    await apply(broker, TOPOLOGY)
    for name in ("worker-old", "stranger"):
        config = {k: v for k, v in a_spec(name).config().items() if k != "metadata"}
        await broker.put_durable("TEST", config)
    [change] = await apply(broker, TOPOLOGY)
    assert change.durable == "worker-old"
    assert len(unowned(TOPOLOGY, await survey(broker, TOPOLOGY))) == 1


# A durable that begins now, and may have been there before


FROM_NOW = declared([STREAM], [a_spec(start="now")])
WORKER = ("TEST", "worker")


@pytest.mark.parametrize(("recorded", "start"), [(2, 2), (9, 4)], ids=["there", "gone"])
async def test_a_durable_made_anew_begins_where_the_record_of_its_service_does(
    broker, recorded, start
):
    await apply(broker, declared([STREAM], []))
    await broker.publish(numbered(3))
    [change] = await apply(broker, replace(FROM_NOW, recorded={WORKER: recorded}))
    assert change.sentence == (
        f"create durable worker of stream TEST from #{start}, where its service's record begins, "
        "on test.v1.done.*"
    )
    async with broker.pull("TEST", "worker") as pull:
        got = [delivery.sequence for delivery in await pull.fetch(9, 0.2)]
    assert got == list(range(start, 4))


async def test_who_cannot_know_whether_it_was_there_is_refused(broker):
    unknown = replace(FROM_NOW, recorded={WORKER: None})
    await apply(broker, declared([STREAM], []))
    assert not (await the_only_change(broker, unknown)).is_unsafe  # nothing can have waited
    await broker.publish(numbered(3))
    with pytest.raises(TopologyError) as refused:
        await apply(broker, unknown)
    assert "worker of stream TEST" in str(refused.value)
    assert "up to #3 would never be handled; worker's own `prepare` knows" in str(refused.value)
    assert await broker.durables("TEST") == {}
    await apply(broker, unknown, allow_unsafe=True)
    assert await apply(broker, unknown) == []


def test_two_different_declarations_of_one_name_are_refused():
    with pytest.raises(TopologyError, match="TEST is declared twice"):
        declared([STREAM, replace(STREAM, max_age=1.0)], [])
    with pytest.raises(TopologyError, match="worker"):
        declared([STREAM], [a_spec(), a_spec(ack_wait=1.0)])
    assert len(declared([STREAM, STREAM], [a_spec(), a_spec()]).streams) == 1
