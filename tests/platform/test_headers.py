"""What the client is spared would have changed nothing: the wire tells no difference."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream, client
from seaway.jetstream.headers import AsIs, read, written
from seaway.testing import nats_server

PLAIN = {
    "plain": "users.v1.create-confirmed",
    "letters": "Zoë 東京",
    "inside": "a  b",
    "empty": "",
}
OTHERS = {
    "around": "  trimmed \t",
    "lines": "one\r\ntwo: injected\nthree",
    "tab": "a\tb",
    "divided": "a | b",
}
NASTY = " \t\r\n\x00\x0b\x1c\x85\xa0\u2028:|aé東"


@asynccontextmanager
async def two_ways(heard):
    """Yield how to send headers: as we do it, and as the client itself does it."""
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        connection = broker.connection
        await connection.subscribe("there", heard.put)

        async def client(headers):
            await connection._client.publish("there", b"", headers=headers)

        async def ours(headers):
            await connection.send("there", b"", headers)

        yield ours, client


def sets_of_headers():
    """Some that services send, and some of nasty letters; always the same."""
    dice = random.Random(1)
    yield PLAIN
    yield PLAIN | OTHERS
    for _ in range(300):
        values = ["".join(dice.choices("ab" * 9 + NASTY, k=dice.randrange(5))) for _ in range(3)]
        yield {f"name-{number}": value for number, value in enumerate(values)}


async def test_headers_arrive_as_the_client_itself_writes_them():
    heard, alike = asyncio.Queue(), 0
    async with two_ways(heard) as ways:
        for said in sets_of_headers():
            for send in ways:
                await send(dict(said))
            ours, the_clients = [(await heard.get()).headers for _ in ways]
            assert ours == the_clients, said
            assert "two" not in ours
            alike += len(written(said)) == 1
    assert 10 < alike < 290  # some in each way


@pytest.mark.parametrize("name", ["two words", "colon:", "line\r\nend", "é"])
async def test_a_name_that_the_client_would_not_take_is_not_taken(name):
    async with two_ways(asyncio.Queue()) as ways:
        for send in ways:
            with pytest.raises((BrokerUnavailable, BadHeaderError)) as refused:
                await send({"first": "1", name: "2"})
            assert any(said in str(refused.value) for said in (name, repr(name)))


def test_all_are_one_where_nothing_has_to_be_done():
    (name, rest), *others = written(PLAIN).items()
    assert (name, others) == ("plain", [])
    assert isinstance(rest, AsIs)
    for name, value in OTHERS.items():
        assert written(PLAIN | {name: value}) == PLAIN | {name: value}


@given(st.lists(st.text(NASTY + "\xff", max_size=8)).map("\r\n".join), st.booleans())
@example("ce-id: 1\r\ntraceparent: \r\nce-id: 2\r\n\r\n", False)
@example("a: 1\r\na:b: 2\r\n", False)
def test_headers_are_read_as_the_client_reads_them(text, garbled):
    raw = text.encode("latin-1" if garbled else "utf-8", "replace")
    ours = read(raw)
    assert ours is None or ours == Client._parse_header_lines(raw)


def test_what_is_plain_is_read_at_once():
    raw = "".join(f"{n}: {v}\r\n" for n, v in PLAIN.items()).encode()
    assert read(raw) == PLAIN
    assert read(raw + b"both:: no\r\n") is None
    assert read(raw + b"\xff: no\r\n") is None


async def test_the_client_reads_with_it(monkeypatch):
    """If a newer one calls it by another name, this fails and only then is it slow."""
    asked, heard = [], asyncio.Queue()
    monkeypatch.setattr(client, "read", lambda raw: asked.append(raw) or read(raw))
    async with two_ways(heard) as (ours, _):
        await ours({"first": "1", "second": "2"})
        assert (await heard.get()).headers == {"first": "1", "second": "2"}
    assert b"first: 1\r\nsecond: 2\r\n\r\n" in asked
