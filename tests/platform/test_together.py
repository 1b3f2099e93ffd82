"""Many callers, each of whom wants one message stored."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count, islice

import pytest
from acme.users.v1 import CreateUserRequested
from seaway.broker import Conflict, Receipt
from seaway.contract import address_of
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable, StreamFull, TooLarge
from seaway.testing import MemoryBroker
from seaway.together import MOST, Together
from seaway.topology import stream_config
from virtual_time import VirtualLoop
from waiting import until

USERS = address_of(CreateUserRequested).stream


class Slow(MemoryBroker):
    """A broker that answers when it is told to, and notes what came together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.answers = asyncio.Event()

    async def publish(self, postings: Sequence):
        self.batches.append([posting.subject.rpartition("-")[2] for posting in postings])
        await self.answers.wait()
        return await super().publish(postings)


@pytest.fixture
async def broker():
    broker = Slow()
    await broker.put_stream(stream_config(USERS, replicas=1))
    return broker


def a_posting(number, email="ada@example.org"):
    key = f"7f1f2c1e-8f7f-4d2b-9a57-{number:012}"
    body = CreateUserRequested(request_id=key, email=email, display_name="Ada")
    return Envelope.opening(body, source="test").posting()


def sent(together, *postings):
    return [asyncio.create_task(together.publish(posting)) for posting in postings]


async def under_way(broker, batches):
    await until(lambda: len(broker.batches) == batches, within=5)


def took(*calls, apart=0.0):
    """Seconds until so many calls at once, and then so many, are answered by a broker at once.

    The next ones come when those before are answered, or so many seconds apart.
    """

    async def answered():
        broker = MemoryBroker()
        await broker.put_stream(stream_config(USERS, replicas=1))
        together, numbers, some = Together(broker), count(), []
        for number in calls:
            some += sent(together, *map(a_posting, islice(numbers, number)))
            await (asyncio.sleep(apart) if apart else asyncio.gather(*some))
        await asyncio.gather(*some)
        return asyncio.get_running_loop().time()

    with closing(VirtualLoop()) as loop:
        return loop.run_until_complete(answered())


def numbers(broker):
    return [[int(number) for number in batch] for batch in broker.batches]


async def test_who_comes_alone_waits_for_nobody(broker):
    broker.answers.set()
    together = Together(broker)
    for number in (1, 2):
        assert await together.publish(a_posting(number)) == Receipt(number)
    assert numbers(broker) == [[1], [2]]


async def test_after_a_batch_with_company_the_next_one_waits_for_more(broker, monkeypatch):
    monkeypatch.setattr("seaway.together.FOR_EACH", 0.1)
    monkeypatch.setattr("seaway.together.AT_MOST", 0.5)
    broker.answers.set()
    together, many = Together(broker), [*range(1, 6)]
    await asyncio.gather(*sent(together, *map(a_posting, many)))
    calls = sent(together, a_posting(10))
    await asyncio.sleep(0.01)
    assert numbers(broker) == [many]
    await asyncio.gather(*calls, *sent(together, a_posting(11)))
    assert numbers(broker) == [many, [10, 11]]


@pytest.mark.parametrize(
    ("company", "seconds"), [(1, 0), (2, 0.004), (20, 0.04), (30, 0.06), (MOST, 0.06)]
)
def test_the_more_company_there_was_the_longer_the_next_one_waits(company, seconds):
    assert took(company, 1) == pytest.approx(seconds)


def test_nobody_waits_if_a_whole_batch_is_there_already():
    assert took(3 * MOST) == 0


@pytest.mark.parametrize(("then", "seconds"), [(MOST - 1, 0.06), (MOST, 0.02)])
def test_a_whole_batch_that_is_there_ends_the_wait(then, seconds):
    assert took(30, then, apart=0.01) == pytest.approx(seconds)


async def test_who_comes_while_others_are_under_way_goes_with_the_next(broker):
    together = Together(broker)
    calls = sent(together, a_posting(1))
    await under_way(broker, 1)
    calls += sent(together, *map(a_posting, (2, 3, 4)))
    await asyncio.sleep(0)
    assert numbers(broker) == [[1]]
    broker.answers.set()
    assert await asyncio.gather(*calls) == [Receipt(n) for n in (1, 2, 3, 4)]
    assert numbers(broker) == [[1], [2, 3, 4]]


async def test_no_more_go_together_than_the_broker_takes(broker, monkeypatch):
    monkeypatch.setattr("seaway.together.MOST", 2)
    broker.answers.set()
    assert len(await asyncio.gather(*sent(Together(broker), *map(a_posting, range(5))))) == 5
    assert numbers(broker) == [[0, 1], [2, 3], [4]]


async def test_each_is_given_its_own_answer(broker):
    broker.answers.set()
    together, first = Together(broker), a_posting(1)
    other = replace(a_posting(1, "eve@example.org"), headers=first.headers)
    stored = await together.publish(first)
    answers = await asyncio.gather(*sent(together, other, a_posting(2), first))
    assert answers[0] == Conflict(broker.messages("USERS")[0])
    assert answers[1:] == [Receipt(2), replace(stored, repeated=True)]


async def test_who_gives_up_before_it_left_has_stored_nothing(broker):
    together = Together(broker)
    [first] = sent(together, a_posting(1))
    await under_way(broker, 1)
    [second, third] = sent(together, a_posting(2), a_posting(3))
    await asyncio.sleep(0)
    second.cancel()
    broker.answers.set()
    await asyncio.gather(first, third)
    assert numbers(broker) == [[1], [3]]


async def test_who_gives_up_later_takes_nobody_with_it(broker):
    together = Together(broker)
    [first, second] = sent(together, a_posting(1), a_posting(2))
    await under_way(broker, 1)
    first.cancel()
    broker.answers.set()
    assert await second == Receipt(2)


async def test_nobody_pays_for_the_size_of_another(broker):
    broker.answers.set()
    large = replace(a_posting(1), data=b"x" * 100_000)
    calls = sent(Together(broker), large, a_posting(2))
    with pytest.raises(TooLarge):
        await calls[0]
    assert await calls[1] == Receipt(1)


async def test_while_the_broker_is_away_all_are_told_and_the_next_ones_are_stored(broker):
    broker.answers.set()
    broker.is_away = True
    together = Together(broker)
    calls = sent(together, a_posting(1), a_posting(2))
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in errors] == [BrokerUnavailable, BrokerUnavailable]
    assert errors[0] is not errors[1]
    broker.is_away = False
    assert await together.publish(a_posting(1)) == Receipt(1)


async def test_all_are_told_of_a_stream_that_is_full(broker):
    await broker.put_stream({**stream_config(USERS, replicas=1), "max_bytes": 1})
    broker.answers.set()
    with pytest.raises(StreamFull):
        await Together(broker).publish(a_posting(1))


async def test_a_batch_without_an_answer_holds_up_the_next_one_not_for_long(broker, monkeypatch):
    monkeypatch.setattr("seaway.together.PATIENCE", 0.01)
    together = Together(broker)
    calls = sent(together, a_posting(1))
    await under_way(broker, 1)
    calls += sent(together, a_posting(2))
    await under_way(broker, 2)
    await asyncio.sleep(0.02)  # nobody waits here: that one has no answer either, and is forgotten
    calls += sent(together, a_posting(3))
    await under_way(broker, 3)
    broker.answers.set()
    assert sorted(each.sequence for each in await asyncio.gather(*calls)) == [1, 2, 3]


async def test_closing_waits_for_what_is_under_way(broker):
    together = Together(broker)
    [call] = sent(together, a_posting(1))
    await under_way(broker, 1)
    closing = asyncio.create_task(together.close())
    await asyncio.sleep(0)
    assert not closing.done()
    broker.answers.set()
    await closing
    assert broker.messages("USERS")
    await call
