"""What the client is spared would have changed nothing: the wire tells no difference."""

import asyncio

from seaway.jetstream import JetStream
from seaway.jetstream.headers import OneLine, written
from seaway.testing import nats_server

HEADERS = {
    "plain": "users.v1.create-confirmed",
    "letters": "Zoë 東京",
    "inside": "a  b",
    "empty": "",
    "around": "  trimmed \t",
    "lines": "one\r\ntwo: injected\nthree",
    "tab": "a\tb",
}


async def test_headers_arrive_as_the_client_itself_writes_them():
    heard = asyncio.Queue()
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        await broker.connection.subscribe("there", heard.put)
        await broker.connection.send("there", b"", HEADERS)
        await broker.connection._client.publish("there", b"", headers=dict(HEADERS))
        ours, the_clients = [(await heard.get()).headers for _ in range(2)]
    assert ours == the_clients
    assert ours["plain"] == HEADERS["plain"]
    assert "two" not in ours


def test_only_what_is_one_line_and_trimmed_is_left_alone():
    spared = {name for name, value in written(HEADERS).items() if isinstance(value, OneLine)}
    assert spared == {"plain", "letters", "inside", "empty"}
