"""What a broker stores, and what it answers."""

import asyncio
import time
from dataclasses import replace

import pytest
from brokers import STREAM, Real, a_posting, numbered
from proxy import Proxy
from seaway.broker import MAX_MESSAGE_BYTES, Conflict, Receipt
from seaway.errors import BrokerUnavailable, StreamFull, TooLarge
from seaway.jetstream import JetStream
from seaway.jetstream.publishing import FEW, WRONG_LAST_SEQUENCE
from seaway.topology import apply, declared, stream_config

SOON = 2.0
COMPANY = [0, 2 * FEW]
"""So many others of the same batch: a few are stored each by itself, and many all or none."""


async def test_a_message_is_stored_as_it_was_published(broker):
    [receipt] = await broker.publish([a_posting("key-1", b"\x00body", id="id-1")])
    stored = await broker.read("TEST", "test.v1.done.key-1")
    assert receipt == Receipt(sequence=1)
    assert (stored.data, stored.sequence) == (b"\x00body", 1)
    assert stored.headers == {"ce-id": "id-1", "ce-type": "test"}
    assert abs(stored.at.timestamp() - time.time()) < 60


async def test_where_nothing_is_stored_nothing_is_read(broker):
    assert await broker.read("TEST", "test.v1.done.nobody") is None


async def test_a_repeat_is_answered_with_the_place_of_the_first(broker):
    await broker.publish([a_posting("key-0")])
    first = await broker.publish([a_posting("key-1")])
    again = await broker.publish([a_posting("key-1")])
    assert first == [Receipt(2)]
    assert again == [Receipt(2, repeated=True)]


@pytest.mark.parametrize("other", [{"data": b"other"}, {"id": "id-2"}], ids=["body", "id"])
async def test_a_subject_is_written_once(broker, other):
    await broker.publish([a_posting("key-1", b"first", id="id-1")])
    asked = {"data": b"first", "id": "id-1"} | other
    [answer] = await broker.publish([a_posting("key-1", **asked)])
    assert isinstance(answer, Conflict)
    assert (answer.stored.data, answer.stored.headers["ce-id"]) == (b"first", "id-1")
    assert answer.stored.sequence == 1


async def test_of_two_outcomes_one_is_stored(broker):
    yes = a_posting("key-1", b"yes", fact="confirmed", rivals=["rejected"])
    no = a_posting("key-1", b"no", fact="rejected", rivals=["confirmed"])
    assert await broker.publish([yes]) == [Receipt(1)]
    [answer] = await broker.publish([no])
    assert isinstance(answer, Conflict)
    assert (answer.stored.subject, answer.stored.data) == ("test.v1.confirmed.key-1", b"yes")
    assert await broker.publish([yes]) == [Receipt(1, repeated=True)]


async def test_an_outcome_that_is_stored_is_ours_even_beside_its_rival(broker):
    """Somebody who names no rivals got both stored. Whoever asks again is told of its own."""
    yes = a_posting("key-1", b"yes", fact="confirmed", rivals=["rejected"])
    await broker.publish([yes])
    await broker.publish([a_posting("key-1", b"no", fact="rejected")])
    assert await broker.publish([yes]) == [Receipt(1, repeated=True)]


async def test_a_second_outcome_is_refused_by_the_broker_itself_and_may_be_asked_again():
    """Its 10071 is lost on the way, so it is known to have been said."""
    yes = a_posting("key-1", b"yes", fact="confirmed", rivals=["rejected"])
    no = a_posting("key-1", b"no", fact="rejected", rivals=["confirmed"])
    async with Real() as place, Proxy(place.server.port) as link:
        await apply(place.broker, declared([STREAM], []))
        await place.broker.publish([yes])
        async with JetStream(f"nats://127.0.0.1:{link.port}", "test") as through:
            await through.connected()
            link.lose_next(b'"err_code":%d' % WRONG_LAST_SEQUENCE)
            with pytest.raises(BrokerUnavailable):
                await through.publish([no])
            assert link.lost == 1
            await through.connected()
            [answer] = await through.publish([no])
    assert (answer.stored.subject, answer.stored.data) == ("test.v1.confirmed.key-1", b"yes")


async def test_of_many_who_race_with_two_outcomes_one_outcome_wins(place):
    clients = [await place.another_client() for _ in range(4)]
    facts = ("confirmed", "rejected")
    outcomes = [
        a_posting("key-1", fact.encode(), fact=fact, rivals={*facts} - {fact})
        for fact in facts * 6
    ]
    races = (clients[n % 4].publish([one]) for n, one in enumerate(outcomes))
    answers = [answer for [answer] in await asyncio.gather(*races)]
    kept = [await place.broker.read("TEST", f"test.v1.{fact}.key-1") for fact in facts]
    [stored] = [one for one in kept if one is not None]
    for outcome, answer in zip(outcomes, answers, strict=True):
        if outcome.data == stored.data:
            assert answer.sequence == 1
        else:
            assert answer == Conflict(stored)
    assert [getattr(answer, "repeated", None) for answer in answers].count(False) == 1


@pytest.mark.parametrize("company", COMPANY)
async def test_of_two_outcomes_in_one_batch_one_is_stored(broker, company):
    yes = a_posting("key-1", b"yes", fact="confirmed", rivals=["rejected"])
    no = a_posting("key-1", b"no", fact="rejected", rivals=["confirmed"])
    one, *others, other = await broker.publish([yes, *numbered(1 + company), no])
    assert {type(one), type(other)} == {Receipt, Conflict}
    assert all(isinstance(answer, Receipt) for answer in others)
    kept = [await broker.read("TEST", f"test.v1.{f}.key-1") for f in ("confirmed", "rejected")]
    assert kept.count(None) == 1


@pytest.mark.parametrize("company", COMPANY)
async def test_an_outcome_that_is_refused_does_not_take_its_batch_with_it(broker, company):
    await broker.publish([a_posting("there", fact="confirmed")])
    no = a_posting("there", fact="rejected", rivals=["confirmed"])
    before, refused, *after = await broker.publish(
        [a_posting("first"), no, *numbered(1 + company)]
    )
    assert isinstance(refused, Conflict)
    assert {answer.sequence for answer in (before, *after)} == {*range(2, 4 + company)}
    assert await broker.read("TEST", "test.v1.rejected.there") is None


async def test_of_many_who_race_for_a_subject_one_wins(place):
    clients = [await place.another_client() for _ in range(4)]
    bodies = [a_posting("key-1", b"%d" % n, id=f"id-{n}") for n in range(12)]
    races = (clients[n % 4].publish([body]) for n, body in enumerate(bodies))
    answers = [answer for [answer] in await asyncio.gather(*races)]
    winners = [answer for answer in answers if isinstance(answer, Receipt)]
    stored = await place.broker.read("TEST", "test.v1.done.key-1")
    assert winners == [Receipt(1)]
    assert {answer.stored.data for answer in answers if answer not in winners} == {stored.data}


@pytest.mark.parametrize("count", [FEW, 300, 1500])
async def test_a_batch_is_stored_in_its_order(broker, durable, count):
    name = await durable()
    answers = await broker.publish(numbered(count))
    assert answers == [Receipt(n) for n in range(1, count + 1)]
    async with broker.pull("TEST", name) as pull:
        deliveries = await pull.fetch(count, SOON)
    assert [delivery.data for delivery in deliveries] == [b"%d" % n for n in range(count)]


@pytest.mark.parametrize("count", [FEW, 2 * FEW])
async def test_a_batch_for_two_streams_is_stored_in_both_and_answered_in_its_order(broker, count):
    more = replace(STREAM, name="MORE", subjects="more.v1.>")
    await broker.put_stream(stream_config(more))
    here = numbered(count)
    there = [replace(p, stream="MORE", subject=f"more.v1.done.{n}") for n, p in enumerate(here)]
    together = [posting for pair in zip(there, here, strict=True) for posting in pair]
    answers = [Receipt(n) for n in range(1, count + 1) for _ in range(2)]
    assert list(await broker.publish(together)) == answers
    for posting in together:
        assert (await broker.read(posting.stream, posting.subject)).data == posting.data


@pytest.mark.parametrize("count", [FEW, 2 * FEW])
async def test_a_batch_with_a_repeat_in_it_is_stored_once(broker, count):
    await broker.publish(numbered(count)[2:3])
    answers = await broker.publish(numbered(count))
    assert [answer.repeated for answer in answers] == [n == 2 for n in range(count)]
    assert sorted(answer.sequence for answer in answers) == [*range(1, count + 1)]
    again = await broker.publish(numbered(count))
    assert [answer.sequence for answer in again] == [answer.sequence for answer in answers]
    assert all(answer.repeated for answer in again)


@pytest.mark.parametrize("company", COMPANY)
async def test_an_oversized_message_never_reaches_the_wire(broker, company):
    big = a_posting("key-1", b"x" * MAX_MESSAGE_BYTES)
    with pytest.raises(TooLarge):
        await broker.publish([*numbered(company), big])
    assert await broker.publish([a_posting("key-2")]) == [Receipt(1)]


async def test_the_largest_message_is_stored(broker):
    small = a_posting("key-1", b"")
    headers = sum(len(k) + len(v) + 4 for k, v in small.headers.items())
    assert await broker.publish([a_posting("key-1", b"x" * (MAX_MESSAGE_BYTES - headers))])


@pytest.mark.parametrize("count", [FEW, 2 * FEW])
async def test_a_full_stream_refuses_what_is_new_and_keeps_what_it_has(broker, count):
    await broker.publish([a_posting("key-1")])
    await broker.put_stream({**stream_config(STREAM), "max_bytes": 1000})
    with pytest.raises(StreamFull):
        await broker.publish([a_posting("key-2", b"x" * 1000)])
    with pytest.raises(StreamFull):
        await broker.publish([a_posting(f"key-{n}", b"x" * 400) for n in range(2, 2 + count)])
    assert (await broker.read("TEST", "test.v1.done.key-1")).sequence == 1


async def test_a_follower_is_told_what_is_stored(broker):
    told = asyncio.Queue()
    async with broker.follow("test.v1.done.*", told.put_nowait, lambda: None):
        await broker.publish([a_posting("key-0", fact="other"), a_posting("key-1", b"body")])
        async with asyncio.timeout(SOON):
            stored = await told.get()
    await broker.publish([a_posting("key-2")])
    kept = await broker.read("TEST", "test.v1.done.key-1")
    assert stored == kept
    assert stored.subject == "test.v1.done.key-1"
    assert told.empty()
