"""A replica that lags shows less than there is, and nobody may take that for all there is."""

from contextlib import asynccontextmanager

import pytest
from brokers import STREAM, numbered
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream, reading
from seaway.testing import nats_server
from seaway.topology import apply, declared

KEPT = 20
UNLED = b'{"error": {"code": 503, "err_code": 10008, "description": "temporarily unavailable"}}'


@asynccontextmanager
async def keeping_some(mappings):
    """A broker that keeps a few messages, and takes some subjects for others."""
    async with (
        nats_server(f"mappings = {{ {mappings} }}") as server,
        JetStream(server.url, "test") as broker,
    ):
        await broker.connected()
        await apply(broker, declared([STREAM], []))
        await broker.publish(numbered(KEPT))
        yield broker


async def test_what_no_replica_shows_yet_the_one_that_leads_shows():
    """Each Direct Get is answered as by a replica that was cut off from the start."""
    async with keeping_some('"$JS.API.DIRECT.GET.TEST": "lagging"') as broker:
        asked = []

        async def nothing(message):
            asked.append(message)
            await broker.connection.send(message.reply, headers={"Status": "404"})

        await broker.connection.subscribe("lagging", nothing)
        kept = [stored async for stored in broker.scan("TEST", "test.v1.>")]
        assert len(asked) == KEPT + 1
    assert [stored.sequence for stored in kept] == list(range(1, KEPT + 1))
    assert kept[-1].data == numbered(KEPT)[-1].data
    assert kept[-1].headers == dict(numbered(KEPT)[-1].headers)


@asynccontextmanager
async def unled(api, refusals):
    """A broker that says of a stream, so many times, that nobody leads it, and who has asked."""
    async with keeping_some(f'"{api}": "unled", "led": "{api}"') as broker:
        asked = []

        async def refuse(message):
            asked.append(message)
            if len(asked) <= refusals:
                await broker.connection.send(message.reply, UNLED)
            else:
                await broker.connection.send("led", message.data, reply=message.reply)

        await broker.connection.subscribe("unled", refuse)
        yield broker, asked


@pytest.mark.parametrize(
    ("api", "ask", "expected"),
    [
        ("STREAM.MSG.GET", lambda broker: broker.next_after("TEST", ">", KEPT), None),
        ("STREAM.MSG.DELETE", lambda broker: broker.remove("TEST", 1), True),
        ("STREAM.MSG.DELETE", lambda broker: broker.remove("TEST", KEPT + 1), False),
        ("STREAM.INFO", lambda broker: broker.counts("TEST", "none"), {}),
    ],
)
async def test_while_nobody_leads_a_stream_it_is_asked_again(api, ask, expected):
    async with unled(f"$JS.API.{api}.TEST", refusals=2) as (broker, asked):
        assert await ask(broker) == expected
    assert len(asked) == 3


async def test_that_nobody_leads_a_stream_is_not_taken_for_nothing_there(monkeypatch):
    monkeypatch.setattr(reading, "LED_WITHIN", 0.0)
    async with unled("$JS.API.STREAM.MSG.DELETE.TEST", refusals=1) as (broker, _):
        with pytest.raises(BrokerUnavailable, match="10008 temporarily unavailable"):
            await broker.remove("TEST", 1)
        assert await broker.remove("TEST", 1)
