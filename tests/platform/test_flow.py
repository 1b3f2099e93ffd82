"""A conversation as its opener sees it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
    UserAddedToCrm,
)
from seaway.contract import address_of
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable, KeyReused
from seaway.flow import Flow
from seaway.testing import MemoryBroker
from seaway.topology import stream_config
from waiting import until

KEY = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
USERS = address_of(CreateUserRequested).stream
REQUESTED = CreateUserRequested(request_id=KEY, email="ada@example.org", display_name="Ada")
CONFIRMED = CreateUserConfirmed(request_id=KEY, user_id="u" * 16, email="ada@example.org")
REJECTED = CreateUserRejected(request_id=KEY, reason=CreateUserRejected.REASON_EMAIL_TAKEN)
EMAILED = SignUpEmailHandled(request_id=KEY, kind=SignUpEmailHandled.KIND_GREETING)


@pytest.fixture
async def broker():
    broker = MemoryBroker()
    await broker.put_stream(stream_config(USERS, replicas=1))
    return broker


@pytest.fixture
async def deaf(broker):
    """A broker that tells nobody live: every fact has to be read."""
    await broker.put_stream({**stream_config(USERS, replicas=1), "republish": None})
    return broker


def sign_ups(broker):
    outcomes = (CreateUserConfirmed, CreateUserRejected)
    return Flow(broker, CreateUserRequested, follow=(*outcomes, SignUpEmailHandled))


def opening(body=REQUESTED):
    return Envelope.opening(body, source="test")


async def say(broker, body):
    [receipt] = await broker.publish([opening().reply(body, "stub").posting()])
    return receipt


@pytest.fixture
def reading_rarely(monkeypatch):
    """Who has read once reads again in an hour: what is told sooner was told live."""
    monkeypatch.setattr("seaway.watching.READ_AGAIN_AFTER", (3600,))


@asynccontextmanager
async def within(seconds):
    async with asyncio.timeout(seconds):
        yield


def reads_of(broker):
    """The subjects that are read of it from now on, in their order."""
    subjects, read = [], broker.read

    async def noted(stream, subject):
        subjects.append(subject)
        return await read(stream, subject)

    broker.read = noted
    return subjects


async def bodies(watch):
    async with within(5):
        return [fact.body async for fact in watch]


async def test_when_a_conversation_is_open_its_command_is_stored(broker):
    said = opening()
    fact = await sign_ups(broker).open(said)
    assert len(broker.messages("USERS")) == 1
    assert (fact.body, fact.stage, fact.at) == (REQUESTED, 0, said.time)


@pytest.mark.parametrize("time", [None, "yesterday", "2026-11-26T20:00:00"])
async def test_a_command_that_does_not_say_when_it_was_said_has_the_time_of_its_storing(
    broker, time
):
    posting = opening().posting()
    headers = {k: v for k, v in posting.headers.items() if k != "ce-time"}
    await broker.publish([replace(posting, headers=headers | ({"ce-time": time} if time else {}))])
    [fact] = await sign_ups(broker).story(KEY)
    [stored] = broker.messages("USERS")
    assert fact.at == stored.at


async def test_opening_it_again_with_the_same_content_is_the_same_conversation(broker):
    flow = sign_ups(broker)
    assert await flow.open(opening()) == await flow.open(opening())
    assert len(broker.messages("USERS")) == 1


async def test_the_same_content_in_other_bytes_is_the_same_conversation(broker):
    posting = opening().posting()
    parts = [REQUESTED.__class__(**{f.name: v}) for f, v in REQUESTED.ListFields()]
    backwards = b"".join(part.SerializeToString() for part in reversed(parts))
    assert backwards != posting.data
    await broker.publish([replace(posting, data=backwards)])
    fact = await sign_ups(broker).open(opening())
    assert (fact.body, len(broker.messages("USERS"))) == (REQUESTED, 1)


async def test_a_field_that_we_do_not_know_yet_makes_no_other_conversation(broker):
    posting = opening().posting()
    newer = posting.data + bytes([0xFA, 0x3F, 0x01]) + b"x"  # field 1023, "x"
    await broker.publish([replace(posting, data=newer)])
    await sign_ups(broker).open(opening())
    assert len(broker.messages("USERS")) == 1


async def test_whoever_rejoins_a_conversation_publishes_nothing(broker):
    async with sign_ups(broker) as flow:
        await flow.open(opening())
        await say(broker, CONFIRMED)
        broker.publish = None
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            assert await flow.rejoin(REQUESTED, watch)
            assert await bodies(watch) == [REQUESTED, CONFIRMED]


async def test_nobody_rejoins_what_is_not_there_or_is_another(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY) as watch:
            assert not await flow.rejoin(REQUESTED, watch)
            await flow.open(opening())
            other = CreateUserRequested(request_id=KEY, email="eve@example.org")
            with pytest.raises(KeyReused):
                await flow.rejoin(other, watch)


@pytest.mark.parametrize("field", ["email", "display_name", "locale"])
async def test_a_key_with_other_content_is_refused_and_the_first_stands(broker, field):
    flow = sign_ups(broker)
    first = await flow.open(opening())
    other = CreateUserRequested()
    other.CopyFrom(REQUESTED)
    setattr(other, field, "eve")
    with pytest.raises(KeyReused):
        await flow.open(opening(other))
    assert await flow.story(KEY) == [first]


async def test_a_command_that_nobody_can_read_is_other_content(broker):
    await broker.publish([replace(opening().posting(), data=b"\xff")])
    with pytest.raises(KeyReused):
        await sign_ups(broker).open(opening())


async def test_opening_while_the_broker_is_away_claims_nothing(broker):
    broker.is_away = True
    with pytest.raises(BrokerUnavailable):
        await sign_ups(broker).open(opening())


async def test_the_story_is_what_is_stored_in_order(broker):
    flow = sign_ups(broker)
    assert await flow.story(KEY) == []
    await flow.open(opening())
    await say(broker, CONFIRMED)
    await say(broker, UserAddedToCrm(request_id=KEY))
    await say(broker, EMAILED)
    assert [fact.body for fact in await flow.story(KEY)] == [REQUESTED, CONFIRMED, EMAILED]
    broker.is_away = True
    with pytest.raises(BrokerUnavailable):
        await flow.story(KEY)


async def test_whether_a_conversation_is_open_is_one_question(broker):
    flow, asked = sign_ups(broker), reads_of(broker)
    assert not await flow.is_open(KEY)
    await flow.open(opening())
    assert await flow.is_open(KEY)
    assert asked == [opening().posting().subject] * 2
    broker.is_away = True
    with pytest.raises(BrokerUnavailable):
        await flow.is_open(KEY)


@pytest.mark.usefixtures("reading_rarely")
async def test_a_watch_tells_what_is_there_then_what_follows(broker):
    async with sign_ups(broker) as flow:
        await flow.open(opening())
        with flow.watch(KEY) as watch:
            async with within(5):
                assert (await anext(watch)).body == REQUESTED
                await say(broker, CONFIRMED)
                assert (await anext(watch)).body == CONFIRMED
                await say(broker, EMAILED)
                assert (await anext(watch)).body == EMAILED
            assert await bodies(watch) == []


async def test_a_watch_of_a_conversation_that_does_not_exist_yet_waits_for_it(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            following = asyncio.create_task(bodies(watch))
            await asyncio.sleep(0)
            await flow.open(opening())
            await say(broker, CONFIRMED)
            assert await following == [REQUESTED, CONFIRMED]


@pytest.mark.usefixtures("reading_rarely")
async def test_a_watch_is_told_of_the_command_that_is_opened_beside_it(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY) as watch:
            following = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0.05)  # it has read, and will again in an hour
            await flow.open(opening())
            async with within(5):
                assert (await following).body == REQUESTED


@pytest.mark.usefixtures("reading_rarely")
async def test_an_outcome_that_is_told_does_not_wait_for_its_command_to_be_read_some_day(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            following = asyncio.create_task(bodies(watch))
            await asyncio.sleep(0.05)  # it has read, and will again in an hour
            await sign_ups(broker).open(opening())  # nobody tells another flow of commands
            await say(broker, CONFIRMED)
            assert await following == [REQUESTED, CONFIRMED]


async def test_the_opener_of_a_new_conversation_reads_nothing(broker):
    reads = reads_of(broker)
    async with sign_ups(broker) as flow:
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            await flow.open(opening(), watch)
            await say(broker, CONFIRMED)
            assert await bodies(watch) == [REQUESTED, CONFIRMED]
    assert reads == []


@pytest.mark.usefixtures("reading_rarely")
async def test_whoever_watches_reads_no_further_than_to_the_first_that_is_missing(deaf):
    reads = reads_of(deaf)
    requested, confirmed, rejected, emailed = (
        address_of(message).subject_for(KEY)
        for message in (
            CreateUserRequested,
            CreateUserConfirmed,
            CreateUserRejected,
            SignUpEmailHandled,
        )
    )
    async with sign_ups(deaf) as flow:
        with flow.watch(KEY) as watch:
            async with within(5):
                following = asyncio.create_task(bodies(watch))
                await until(lambda: reads == [requested])
                await sign_ups(deaf).open(opening())
                watch.hurry()
                await until(lambda: reads[1:] == [requested, confirmed, rejected])
                await say(deaf, CONFIRMED)
                await say(deaf, EMAILED)
                watch.hurry()
                assert await following == [REQUESTED, CONFIRMED, EMAILED]
    assert reads[4:] == [confirmed, rejected, emailed]


@pytest.mark.usefixtures("reading_rarely")
async def test_the_opener_of_an_old_conversation_is_told_what_became_of_it(deaf):
    async with sign_ups(deaf) as flow:
        await flow.open(opening())
        await say(deaf, CONFIRMED)
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            await flow.open(opening(), watch)
            assert await bodies(watch) == [REQUESTED, CONFIRMED]


@pytest.mark.parametrize("outcome", [CONFIRMED, REJECTED])
async def test_any_outcome_ends_a_watch_for_the_outcome(broker, outcome):
    async with sign_ups(broker) as flow:
        await flow.open(opening())
        await say(broker, outcome)
        await say(broker, EMAILED)
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            assert await bodies(watch) == [REQUESTED, outcome]


async def test_a_watch_resumes_after_a_stage(broker):
    async with sign_ups(broker) as flow:
        opened = await flow.open(opening())
        await say(broker, CONFIRMED)
        with flow.watch(KEY, after=opened.stage, until=CreateUserConfirmed) as watch:
            assert await bodies(watch) == [CONFIRMED]
        with flow.watch(KEY, after=opened.stage + 1, until=CreateUserConfirmed) as watch:
            assert await bodies(watch) == []
            assert watch.reached.body == CONFIRMED


async def test_an_outcome_of_which_nobody_was_told_is_found_by_reading(deaf):
    async with sign_ups(deaf) as flow:
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            await flow.open(opening(), watch)
            async with within(5):
                assert (await anext(watch)).body == REQUESTED
                following = asyncio.create_task(bodies(watch))
                await asyncio.sleep(0)
                await say(deaf, CONFIRMED)
                assert await following == [CONFIRMED]


@pytest.mark.usefixtures("reading_rarely")
async def test_after_a_reconnect_it_is_read_at_once(deaf):
    async with sign_ups(deaf) as flow:
        await flow.open(opening())
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            async with within(5):
                await anext(watch)
            following = asyncio.create_task(bodies(watch))
            await asyncio.sleep(0)
            await say(deaf, CONFIRMED)
            deaf.is_away = True
            deaf.is_away = False  # the next reading is an hour away, but for this
            assert await following == [CONFIRMED]


async def test_a_watch_outlasts_an_absence_of_the_broker(deaf):
    async with sign_ups(deaf) as flow:
        await flow.open(opening())
        await say(deaf, CONFIRMED)
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            deaf.is_away = True
            following = asyncio.create_task(bodies(watch))
            done, _ = await asyncio.wait({following}, timeout=0.02)
            assert not done
            deaf.is_away = False
            assert await following == [REQUESTED, CONFIRMED]


async def test_what_comes_later_waits_for_what_a_lagging_replica_does_not_show_yet(broker):
    lagging = {address_of(CreateUserConfirmed).subject_for(KEY)}
    read = broker.read

    async def lag(stream, subject):
        return None if subject in lagging else await read(stream, subject)

    broker.read = lag
    async with sign_ups(broker) as flow:
        await flow.open(opening())
        await say(broker, CONFIRMED)
        await say(broker, EMAILED)
        with flow.watch(KEY) as watch:
            async with within(5):
                assert (await anext(watch)).body == REQUESTED
                following = asyncio.create_task(bodies(watch))
                await asyncio.sleep(0)
                lagging.clear()
                assert await following == [CONFIRMED, EMAILED]


async def test_a_cancelled_step_loses_nothing(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            with pytest.raises(TimeoutError):
                async with within(0.01):
                    await anext(watch)
            await flow.open(opening())
            await say(broker, CONFIRMED)
            assert await bodies(watch) == [REQUESTED, CONFIRMED]


async def test_an_undecodable_fact_is_told_to_nobody(broker):
    async with sign_ups(broker) as flow:
        await flow.open(opening())
        posting = opening().reply(CONFIRMED, "stub").posting()
        await broker.publish([replace(posting, data=b"\xff")])
        with flow.watch(KEY, until=CreateUserConfirmed) as watch:
            async with within(5):
                assert (await anext(watch)).body == REQUESTED
            with pytest.raises(TimeoutError):
                async with within(0.01):
                    await anext(watch)


async def test_a_watch_keeps_one_fact_a_stage_however_long_it_is_not_read(broker):
    async with sign_ups(broker) as flow:
        with flow.watch(KEY) as watch:
            for _ in range(100):
                for place in flow._places[1:]:
                    flow._tell(await a_fact(broker, place.message))
            assert len(watch._known) == 2


async def a_fact(broker, message):
    body = message(request_id=KEY)
    posting = opening().reply(body, "stub").posting()
    await broker.publish([posting])
    return await broker.read("USERS", posting.subject) or await broker.read(
        "USERS", posting.rivals[0]
    )


async def test_who_stops_watching_leaves_nothing_behind(broker):
    async with sign_ups(broker) as flow:

        async def watch_for_ever(key):
            with flow.watch(key) as watch:
                await anext(watch)

        keys = [KEY, KEY, *(f"{n:016d}" for n in range(100))]
        watching = [asyncio.create_task(watch_for_ever(key)) for key in keys]
        await asyncio.sleep(0)
        assert flow.watching == 102
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        assert flow.watching == 0
        assert flow._watches == {}
