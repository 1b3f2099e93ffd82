"""The connection, where there are several brokers, or one that is only just being started."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from brokers import STREAM, a_posting
from nats.aio.client import Client
from proxy import Proxy
from seaway.errors import BrokerUnavailable, DurableGone
from seaway.jetstream import JetStream, connection, starting
from seaway.jetstream.starting import answered
from seaway.testing import nats_server
from seaway.topology import stream_config
from seaway.topology.keys import keep_keys, key_file
from structlog.testing import capture_logs
from waiting import until

WITHIN = 50.0


@asynccontextmanager
async def connected_to(*servers):
    """One connection to whichever of these it chooses."""
    async with JetStream(",".join(server.url for server in servers), "test") as broker:
        await broker.connected()
        yield broker


@pytest.fixture
def logs():
    """What is logged meanwhile, and not printed."""
    with capture_logs() as logs:
        yield logs


def key_of(folder):
    """A seed, and the configuration of a broker that asks for it."""
    [key] = keep_keys(folder, ["test"]).values()
    return key_file(folder, "test"), f"authorization {{ users: [{{ nkey: {key} }}] }}"


@asynccontextmanager
async def two_with_streams():
    """Two brokers that know nothing of each other, each with a stream."""
    async with nats_server() as one, nats_server() as other:
        for server in (one, other):
            async with connected_to(server) as broker:
                await broker.put_stream(stream_config(STREAM))
        yield one, other


async def store(broker, key):
    """Publish, as often as it takes."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await broker.publish([a_posting(key)])
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def has(server, key):
    """Whether this broker has it."""
    async with connected_to(server) as broker:
        return await broker.read("TEST", f"test.v1.done.{key}") is not None


async def in_use(servers, broker):
    """Which of two brokers the connection is to, and which is the other."""
    await store(broker, "before")
    one, other = servers
    return (one, other) if await has(one, "before") else (other, one)


async def test_a_request_that_is_just_running_out_does_not_keep_it_from_connecting_anew():
    async with nats_server() as server, connected_to(server) as broker:
        ours = broker.connection
        patience = asyncio.timeout(0)

        async def waits():
            ours._waiting.add(patience)
            async with patience:
                await asyncio.sleep(WITHIN)

        waiting = asyncio.create_task(waits())
        while not patience.expired():  # noqa: ASYNC110 - it is the very turn of the loop that matters
            await asyncio.sleep(0)
        assert not waiting.done()  # its time has come, and nobody has told it yet
        await ours._on_disconnected()
        with pytest.raises(TimeoutError):
            await waiting


async def test_whoever_fetches_while_the_connection_is_being_lost_leaves_others_a_turn():
    """Or the very task would never run that is to connect anew: the process hung until it died."""
    async with (
        nats_server() as server,
        connected_to(server) as broker,
        broker.pull("TEST", "worker") as pull,
    ):
        with suppress(DurableGone):
            await pull.fetch(1, wait=0.1)
        broker.connection._client._status = Client.RECONNECTING  # and nobody has been told yet
        turn = asyncio.create_task(asyncio.sleep(0))
        assert list(await pull.fetch(1, wait=1.0)) == []
        assert turn.done()
        broker.connection._client._status = Client.CONNECTED


async def test_when_one_broker_is_killed_another_is_tried():
    async with two_with_streams() as servers, connected_to(*servers) as broker:
        first, other = await in_use(servers, broker)
        await first.kill()
        await store(broker, "after")
        assert await has(other, "after")


async def test_a_broker_that_keeps_its_connections_and_answers_nothing_is_left_for_another(
    monkeypatch,
):
    monkeypatch.setattr(connection, "IN_VAIN", 0.5)
    monkeypatch.setattr("seaway.jetstream.publishing.PUBLISH_WITHIN", 0.4)
    async with two_with_streams() as servers, connected_to(*servers) as broker:
        first, other = await in_use(servers, broker)
        first.pause()
        await store(broker, "after")
        assert await has(other, "after")


async def test_a_pull_that_is_not_answered_leaves_the_broker_too(monkeypatch):
    monkeypatch.setattr(connection, "IN_VAIN", 0.5)
    async with two_with_streams() as servers, connected_to(*servers) as broker:
        first, other = await in_use(servers, broker)
        first.pause()
        async with broker.pull("TEST", "nobody") as pull:
            with suppress(DurableGone):  # the other one answers
                await until(lambda: _is_left(pull, broker), WITHIN)
        await store(broker, "after")
        assert await has(other, "after")


async def _is_left(pull, broker):
    await pull.fetch(1, 0.2)
    return not broker.connection.up.is_set()


async def test_the_only_broker_is_not_left(monkeypatch):
    monkeypatch.setattr(connection, "IN_VAIN", 0.1)
    async with nats_server() as server, connected_to(server) as broker:
        server.pause()
        for _ in range(3):
            with pytest.raises(BrokerUnavailable, match="TimeoutError"):
                await broker.connection.request("$JS.API.INFO", wait=0.2)
        assert broker.connection.up.is_set()
        server.resume()
        await broker.streams()


async def test_a_broker_has_heard_of_a_subscription_when_it_has_heard_so_far():
    async def heard(_):
        """Never called."""

    async with (
        nats_server() as server,
        Proxy(server.port) as link,
        JetStream(f"nats://127.0.0.1:{link.port}", "test") as broker,
    ):
        await broker.connected()
        link.overheard = []
        await broker.connection.subscribe("some.subject", heard)
        await broker.connection.heard_so_far()
        said = b"".join(link.overheard)
    assert said.rindex(b"PING") > said.index(b"SUB some.subject")


async def test_a_client_that_dies_while_it_closes_has_given_up_as_well(monkeypatch):
    def refuse(_):
        raise AttributeError("as asyncio says of a socket that has been closed")

    async with nats_server() as server, connected_to(server) as broker:
        client = broker.connection._client
        monkeypatch.setattr(client._transport, "writelines", refuse)
        client._pending, client._pending_data_size = [b"PING\r\n"], 6
        with pytest.raises(AttributeError):
            await client._close(Client.CLOSED)
        await until(broker.connection.closed.is_set, WITHIN)
        assert not broker.connection.alive
        assert not broker.connection.up.is_set()
        assert not client._transport._io_writer.is_closing()
    assert client._transport._io_writer.is_closing()


async def test_what_is_asked_while_the_broker_is_away_leaves_nothing_behind():
    async with nats_server() as server, connected_to(server) as broker:
        await broker.streams()
        kept = len(broker.connection._client._resp_map)
        await server.kill()
        for _ in range(20):
            with pytest.raises(BrokerUnavailable):
                await broker.streams()
        await server.start()
        await until(broker.connection.up.is_set, WITHIN)
        assert await broker.streams() == {}
        assert len(broker.connection._client._resp_map) == kept


async def test_an_answer_that_comes_too_late_ends_nothing():
    """The client's own read loop would end: it tells one who has given up already."""
    async with nats_server() as server, connected_to(server) as broker:
        reading = broker.connection._client._reading_task
        server.pause()
        await broker.connection.heard_so_far(within=1)
        server.resume()
        assert await broker.streams() == {}
        assert not reading.done()


async def test_a_credential_that_nobody_can_read_ends_it(tmp_path, logs):
    seed, asks_for_it = key_of(tmp_path)
    seed.write_text("SUNOSEED")
    async with (
        nats_server(asks_for_it) as server,
        JetStream(server.url, "test", str(seed)) as broker,
    ):
        await until(broker.connection.closed.is_set, WITHIN)
        assert not broker.connection.alive
    assert "cannot connect" in [log["event"] for log in logs]


async def test_so_it_does_if_it_was_torn_when_it_was_read_again(tmp_path, logs):
    seed, asks_for_it = key_of(tmp_path)
    async with (
        nats_server(asks_for_it) as server,
        JetStream(server.url, "test", str(seed)) as broker,
    ):
        await broker.connected()
        seed.write_text(seed.read_text()[:20])
        await server.kill()
        await server.start()
        await until(broker.connection.closed.is_set, WITHIN)
        assert not broker.connection.alive
    assert "cannot connect" in [log["event"] for log in logs]


async def test_a_password_is_not_in_the_log_when_a_broker_is_left(logs):
    async with nats_server() as server:
        urls = [f"nats://me:secret@{host}:{server.port}" for host in ("127.0.0.1", "localhost")]
        async with JetStream(",".join(urls), "test") as broker:
            await broker.connected()
            await broker.connection.asked(0.0, in_vain=True)
            await broker.connected()
    [left] = [log for log in logs if "trying another one" in log["event"]]
    assert left["at"].endswith(f":{server.port}")
    assert "secret" not in str(logs)


async def test_who_asks_before_there_is_a_connection_is_told_so():
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        with pytest.raises(BrokerUnavailable, match="not connected: nats://"):
            await broker.streams()
        await broker.connected()
        assert await broker.streams() == {}


async def test_what_needs_a_broker_waits_until_it_is_started_and_says_so():
    said = []
    async with nats_server() as server:
        await server.kill()
        async with JetStream(server.url, "test") as broker, asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(answered(broker, broker.streams, said.append))
            await until(lambda: said, WITHIN)
            assert not asked.done()
            await server.start()
    assert asked.result() == {}
    assert said == [f"waiting for the broker: no answer from {server.url}"]


async def test_a_reason_to_wait_is_told_once_and_in_the_end_it_is_the_error(monkeypatch):
    monkeypatch.setattr(starting, "AGAIN_AFTER", 0.05)
    said, reasons = [], iter(["no leader", "no leader", "no peers", "no leader"])

    async def ask():
        raise BrokerUnavailable(next(reasons, "nobody there"))

    async with nats_server() as server, connected_to(server) as broker:
        with pytest.raises(BrokerUnavailable, match="nobody there; gave up after 2 s"):
            await answered(broker, ask, said.append, within=2.0)
    assert said[:2] == ["waiting for the broker: no leader", "waiting for the broker: no peers"]
