"""A replica that lags shows less than there is, and nobody may take that for all there is."""

from contextlib import asynccontextmanager

from brokers import STREAM, numbered
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from seaway.topology import apply, declared

KEPT = 20


@asynccontextmanager
async def connected(url):
    async with JetStream(url, "test") as broker:
        await broker.connected()
        yield broker


async def test_what_no_replica_shows_yet_the_one_that_leads_shows():
    """Each Direct Get is answered as by a replica that was cut off from the start."""
    config = 'mappings = { "$JS.API.DIRECT.GET.TEST": "lagging" }'
    async with nats_server(config) as server, connected(server.url) as broker:
        await apply(broker, declared([STREAM], []))
        await broker.publish(numbered(KEPT))
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
