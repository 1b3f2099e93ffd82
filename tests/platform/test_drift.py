"""Drift: what somebody else changed behind our back. The broker itself says nothing of it."""

import pytest
from brokers import STREAM, InMemory, Real, a_spec
from seaway.errors import TopologyError
from seaway.topology import apply, declared, drift, stream_config

TOPOLOGY = declared([STREAM], [a_spec()])


@pytest.fixture
async def nats():
    async with Real() as place:
        await apply(place.broker, TOPOLOGY)
        yield place.broker


OFF = {"discard_new_per_subject": False}
STREAM_DRIFT = {
    "discard_new_per_subject": (OFF, "is off, declared is on"),
    "discard": ({"discard": "old"} | OFF, "is old, declared is new"),
    "max_msgs_per_subject": ({"max_msgs_per_subject": -1} | OFF, "is no limit, declared is 1"),
    "retention": ({"retention": "interest"}, "is interest, declared is limits"),
    "max_age": ({"max_age": int(180e9)}, "is 3 min, declared is 1 h"),
    "max_bytes": ({"max_bytes": -1}, "is no limit, declared is 100000000"),
    "max_msgs": ({"max_msgs": 7}, "is 7, declared is no limit"),
    "max_msg_size": ({"max_msg_size": 9000}, "is 9000, declared is 65536"),
    "subjects": ({"subjects": ["test.v1.done.*"]}, "is test.v1.done.*, declared is test.v1.>"),
    "republish": ({"republish": None}, "is nothing, declared is test.v1.> as live.test.v1.>"),
    "allow_direct": ({"allow_direct": False}, "is off, declared is on"),
    "allow_atomic": ({"allow_atomic": False}, "is off, declared is on"),
    "allow_rollup_hdrs": ({"allow_rollup_hdrs": True}, "is on, declared is off"),
    "no_ack": ({"no_ack": True, "allow_atomic": False}, "is on, declared is off"),
    "max_consumers": ({"max_consumers": 7}, "is 7, declared is no limit"),
}
DURABLE_DRIFT = {
    "filter_subjects": ({"filter_subjects": ["test.v1.x.*"]}, "is test.v1.x.*, declared is test"),
    "ack_wait": ({"ack_wait": int(60e9)}, "is 1 min, declared is 5 s"),
    "max_deliver": ({"max_deliver": 3}, "is 3, declared is no limit"),
    "max_ack_pending": ({"max_ack_pending": 1}, "is 1, declared is 2000"),
    "inactive_threshold": ({"inactive_threshold": int(1e9)}, "is 1 s, declared is nothing"),
    "headers_only": ({"headers_only": True}, "is on, declared is off"),
    "backoff": ({"backoff": [int(1e9)], "max_deliver": 2}, "is 1000000000, declared is nothing"),
    "metadata": ({"metadata": {}}, "is nothing, declared is seaway.service worker"),
}
FIXED = {"name", "storage", "num_replicas", "sealed", "persist_mode"}
FIXED_IN_DURABLES = {
    "durable_name",
    "ack_policy",
    "replay_policy",
    "deliver_policy",
    "mem_storage",
}


@pytest.mark.parametrize("setting", STREAM_DRIFT)
async def test_a_stream_that_was_changed_behind_our_back_is_found(nats, setting):
    change, says = STREAM_DRIFT[setting]
    found = (await nats.streams())["TEST"].config
    await nats.put_stream({**found, **change})
    sentences = await drift(nats, TOPOLOGY)
    assert any(s.startswith(f"stream TEST: {setting} {says}") for s in sentences)
    await apply(nats, TOPOLOGY, allow_unsafe=True)
    assert await drift(nats, TOPOLOGY) == []


@pytest.mark.parametrize("setting", DURABLE_DRIFT)
async def test_a_durable_that_was_changed_behind_our_back_is_found(nats, setting):
    change, says = DURABLE_DRIFT[setting]
    found = (await nats.durables("TEST"))["worker"].config
    await nats.put_durable("TEST", {**found, **change})
    sentences = await drift(nats, TOPOLOGY)
    assert any(s.startswith(f"durable worker of stream TEST: {setting} {says}") for s in sentences)
    await apply(nats, TOPOLOGY, allow_unsafe=True)
    assert await drift(nats, TOPOLOGY) == []


def test_no_declared_setting_is_left_out_of_these_tests():
    assert stream_config(STREAM).keys() == STREAM_DRIFT.keys() | FIXED
    assert a_spec().config().keys() == DURABLE_DRIFT.keys() | FIXED_IN_DURABLES


async def test_a_stream_that_loses_messages_at_a_power_cut_is_found():
    async with Real() as place:
        lossy = {"persist_mode": "async", "allow_atomic": False}
        await place.broker.put_stream({**stream_config(STREAM), **lossy})
        sentences = await drift(place.broker, TOPOLOGY)
        assert "stream TEST: persist_mode is async, declared is default" in sentences
        with pytest.raises(TopologyError, match="can not change persist mode"):
            await apply(place.broker, TOPOLOGY)


async def test_what_is_not_there_is_drift():
    async with InMemory() as place:
        sentences = await drift(place.broker, TOPOLOGY)
    assert sentences == [
        "stream TEST does not exist",
        "durable worker of stream TEST does not exist",
    ]
