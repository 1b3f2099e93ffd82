"""The life of a message, step by step: what becomes of it in every case that we know."""

import asyncio
from dataclasses import replace
from itertools import product

import pytest
import raw_nats
from acme.users.v1 import CreateUserRejected
from seaway import consumer as module
from seaway.breaker import Breaker
from seaway.broker import MAX_MESSAGE_BYTES, MAX_STORED_BYTES
from seaway.contract import address_of
from seaway.dead_letters import DEAD, redrive
from seaway.envelope import Envelope
from seaway.errors import (
    BrokerUnavailable,
    DependencyDown,
    NotNow,
    StreamFull,
    Unprocessable,
)
from seaway.inbox import MemoryInbox, NoInbox
from seaway.jetstream import JetStream
from seaway.outcome import Retry, RetryPolicy
from seaway.service import redrive_subject
from seaway.telemetry import DEAD_LETTERS
from seaway.testing import MemoryBroker, nats_server
from seaway.topology import stream_config
from structlog.testing import capture_logs
from waiting import until
from workers import (
    DURABLE,
    USERS,
    Running,
    Worker,
    a_request,
    alien,
    by_name,
    confirmed,
    posting_of,
    rejected,
)


@pytest.fixture(autouse=True)
def logs():
    """What is logged meanwhile, and not printed."""
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def broker():
    return MemoryBroker(hurried=True)


@pytest.fixture
async def nats():
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        yield broker


def people(count):
    return [a_request(f"n{n}") for n in range(count)]


# What is handled


async def test_what_is_handled_is_answered_and_acked(broker):
    worker = await Worker.made(broker, by_name())
    await worker.send(*people(3))
    await worker.rounds()
    assert [s.subject.split(".")[2] for s in await worker.replies()] == ["create-confirmed"] * 3
    assert worker.seen == [(1, 1), (2, 1), (3, 1)]
    assert await worker.is_settled()
    assert await worker.letters() == []


async def test_a_handler_may_answer_nothing_one_thing_or_several(broker):
    several = by_name(nobody=lambda _: None, two=lambda m: [confirmed(m), confirmed(m)])
    worker = await Worker.made(broker, several)
    await worker.send(a_request("nobody"), a_request("one"), a_request("two"))
    await worker.rounds()
    # Said twice by one message, it is one message.
    assert len(await worker.replies()) == 2
    assert [len(row.replies) for row in worker.inbox.rows.values()] == [0, 1, 2]


async def test_several_deliveries_of_one_message_in_a_batch_are_handled_once(broker):
    handle, request = by_name(), a_request()
    worker = await Worker.made(broker, handle)
    again = replace(posting_of(request), subject=redrive_subject(USERS, DURABLE, "7"))
    await worker.send(request, again)
    assert await worker.round() == 2
    assert handle.calls == [["Ada"]]
    assert len(await worker.replies()) == 1
    assert await worker.is_settled()


async def test_what_was_handled_is_not_handled_again_and_answered_the_same(broker):
    handle = by_name()
    worker = await Worker.made(broker, handle)
    await worker.send(*people(3))
    await worker.rounds()
    before = await worker.replies()
    broker.forget_acks()
    await worker.rounds()
    assert len(handle.calls) == 1
    assert await worker.replies() == before
    assert await worker.is_settled()


async def test_a_reply_that_could_not_be_published_is_published_as_it_was(broker):
    """The transaction is committed, and then the broker is away: the redelivery sees to it."""
    worker = await Worker.made(broker, by_name())

    class Gone(MemoryInbox):
        def transaction(self, durable):
            broker.is_away = True
            return super().transaction(durable)

    inbox = Gone()
    away = replace(worker.consumer, inbox=inbox)
    await worker.send(a_request())
    async with broker.pull("USERS", DURABLE) as pull:
        deliveries = await pull.fetch(1, 0)
    await away.in_turn(deliveries)
    assert broker.messages("USERS")[1:] == ()
    [row] = inbox.rows.values()
    broker.is_away = False
    broker.forget_acks()  # its ack wait is over
    handle = by_name(Ada=rejected)
    another = await Worker.made(broker, handle, MemoryInbox(rows=inbox.rows))
    await another.rounds()
    assert handle.calls == []
    [reply] = await another.replies()
    assert (reply.subject, reply.data, reply.headers) == (
        row.replies[0].subject,
        row.replies[0].data,
        row.replies[0].headers,
    )


async def test_two_workers_on_one_message_make_one_effect(broker):
    """Both find nothing in the inbox; whoever commits second is told, and asks again."""
    inbox, both, entered = MemoryInbox(), asyncio.Event(), []

    async def handle(messages):
        entered.append(1)
        if len(entered) == 2:
            both.set()
        await both.wait()
        return [confirmed(message) for message in messages]

    worker = await Worker.made(broker, handle, inbox)
    await worker.send(a_request())
    async with broker.pull("USERS", DURABLE) as pull:
        mine = await pull.fetch(1, 0)
        broker.forget_acks()
        yours = await pull.fetch(1, 0)
        await asyncio.gather(worker.consumer.in_turn(mine), worker.consumer.in_turn(yours))
    await worker.rounds()
    assert len(entered) == 2
    assert len(inbox.rows) == len(await worker.replies()) == 1
    assert not inbox.failures
    assert await worker.is_settled()


# What cannot be handled


@pytest.mark.parametrize("place", [0, 1, 100, 128, 254, 255])
async def test_one_to_blame_among_256_is_found_by_halving(broker, place):
    handle = by_name(bad=Unprocessable("NO_SUCH_MAILBOX"))
    worker = await Worker.made(broker, handle)
    requests = people(256)
    requests[place] = a_request("bad")
    await worker.send(*requests)
    assert await worker.round() == 256
    assert len(handle.calls) <= 2 * 8 + 1
    assert len(await worker.replies()) == 255
    assert [(x.reason, x.message_id) for x in await worker.letters()] == [
        ("NO_SUCH_MAILBOX", requests[place].request_id)
    ]
    assert await worker.is_settled()


async def test_several_to_blame_are_all_found_and_only_they(broker):
    worker = await Worker.made(broker, by_name(bad=Unprocessable("BAD")))
    requests = [a_request("bad" if n % 13 == 5 else f"n{n}") for n in range(100)]
    await worker.send(*requests)
    await worker.round()
    bad = {r.request_id for r in requests if r.display_name == "bad"}
    assert {letter.message_id for letter in await worker.letters()} == bad
    assert len(await worker.replies()) == 100 - len(bad)


POISON = {
    "UNDECODABLE": alien(b"\xff\xff"),
    "UNKNOWN_TYPE": alien(ce_type="acme.users.v1.CreateUserConfirmed"),
    "UNKNOWN_TYPE of nobody": alien(ce_type="nobody.knows.This"),
    "UNKNOWN_TYPE without a type": alien(ce_type=None),
    "INVALID": alien(a_request(email="x").SerializeToString()),
    "BAD_HEADERS without an id": alien(a_request().SerializeToString(), ce_id=None),
    "BAD_HEADERS with another id": alien(a_request().SerializeToString(), ce_id="x" * 5000),
    "BAD_HEADERS without a time": alien(a_request().SerializeToString(), ce_time="yesterday"),
}


@pytest.mark.parametrize("reason", POISON)
async def test_what_nobody_can_read_is_set_aside_as_it_came_and_the_others_go_on(broker, reason):
    handle = by_name()
    worker = await Worker.made(broker, handle)
    poison = POISON[reason]
    await worker.send(a_request(), poison, a_request())
    await worker.round()
    assert handle.calls == [["Ada", "Ada"]]  # no halving: it is known which one it is
    [letter] = await worker.letters()
    assert letter.reason == reason.split()[0]
    assert (letter.data, letter.headers) == (poison.data, poison.headers)
    assert (letter.durable, letter.version) == (DURABLE, "1.2.3")
    assert (letter.attempts, letter.original_subject) == (1, poison.subject)
    assert letter.first_at == broker.messages("USERS")[1].at <= letter.last_at
    assert len(await worker.replies()) == 2
    assert await worker.is_settled()


async def test_poison_without_an_id_is_named_after_its_place(broker):
    worker = await Worker.made(broker, by_name())
    for strange in (None, "", "a.b", "x" * 65, "*", "ä" * 36):
        await worker.send(alien(ce_id=strange))
    await worker.round()
    assert [s.subject for s in broker.messages("DEAD")] == [
        f"dead.{DURABLE}.sequence-{n}" for n in range(1, 7)
    ]


async def test_an_id_is_spelled_in_one_way(broker):
    worker = await Worker.made(broker, by_name())
    id = a_request().request_id
    for spelled in (id.upper(), id.replace("-", ""), f"{{{id}}}"):
        await worker.send(alien(bytes([255, 0]) + spelled.encode(), ce_id=spelled))
    await worker.round()
    assert {letter.message_id for letter in await worker.letters()} == {id}
    assert len(await worker.letters()) == 3  # three bodies, so three messages


async def test_an_id_that_stands_for_another_body_is_set_aside(broker):
    handle, first = by_name(), a_request()
    worker = await Worker.made(broker, handle)
    await worker.send(first)
    await worker.rounds()
    reused = alien(a_request("Eve").SerializeToString(), ce_id=first.request_id)
    await worker.send(reused)
    await worker.rounds()
    assert handle.calls == [["Ada"]]
    [letter] = await worker.letters()
    assert (letter.reason, letter.data) == ("ID_REUSED", reused.data)


async def test_of_two_bodies_with_one_id_in_a_batch_the_first_is_handled(broker):
    handle, first = by_name(), a_request()
    worker = await Worker.made(broker, handle)
    reused = alien(a_request("Eve").SerializeToString(), ce_id=first.request_id)
    await worker.send(a_request("one"), first, a_request("two"), reused, a_request("three"))
    await worker.round()
    assert [(x.reason, x.data) for x in await worker.letters()] == [("ID_REUSED", reused.data)]
    names = [name for call in handle.calls for name in call]
    assert sorted(names) == ["Ada", "one", "three", "two"]
    assert len(await worker.replies()) == 4


async def test_each_of_several_bad_messages_with_one_id_is_set_aside(broker):
    worker = await Worker.made(broker, by_name())
    id = a_request().request_id
    bad = [alien(b"\xff%d" % n, ce_id=id) for n in range(4)]
    await worker.send(*bad)
    await worker.rounds()
    assert [letter.data for letter in await worker.letters()] == [p.data for p in bad]
    assert {letter.message_id for letter in await worker.letters()} == {id}


async def test_a_second_outcome_is_set_aside_and_the_first_stands(broker):
    request = a_request()
    worker = await Worker.made(broker, by_name())
    theirs = CreateUserRejected(request_id=request.request_id, reason=1)
    await worker.send(request, Envelope.opening(theirs, source="elsewhere").posting())
    await worker.rounds()
    assert await worker.reasons() == ["OUTCOME_CONFLICT"]
    rejection = address_of(CreateUserRejected).subject_for(request.request_id)
    assert [s.subject for s in await worker.replies()] == [rejection]


async def test_an_outcome_that_somebody_said_for_us_with_our_id_is_ours(broker):
    """A reply's id is derived, so another program that replies for us says the same."""
    request = a_request()
    worker = await Worker.made(broker, by_name())
    await worker.send(request)
    stored = broker.messages("USERS")[0]
    cause = Envelope.opening(request, source="test")
    assert cause.id == stored.headers["ce-id"]
    other_bytes = replace(
        cause.reply(confirmed(cause, display_name="Ada"), DURABLE).posting(), rivals=()
    )
    await worker.send(other_bytes)
    await worker.rounds()
    assert await worker.letters() == []
    assert await worker.is_settled()


async def test_an_answer_that_the_broker_would_not_take_is_refused_before_it_is_kept(broker):
    huge = by_name(huge=lambda m: confirmed(m, display_name="x" * MAX_MESSAGE_BYTES))
    worker = await Worker.made(broker, huge)
    await worker.send(a_request("one"), a_request("huge"), a_request("two"))
    await worker.rounds()
    assert await worker.reasons() == ["REPLY_TOO_LARGE"]
    assert len(worker.inbox.rows) == len(await worker.replies()) == 2


# What may pass


async def test_a_handler_may_say_of_each_that_it_failed_and_the_others_are_handled(broker):
    handle = by_name(bad=lambda _: Unprocessable("BAD"), later=lambda _: ValueError("some bug"))
    worker = await Worker.made(broker, handle, policy=RetryPolicy(failures=3))
    await worker.send(*map(a_request, ("one", "bad", "two", "later", "three")))
    await worker.rounds()
    assert handle.calls == [["one", "bad", "two", "later", "three"], ["later"], ["later"]]
    assert await worker.reasons() == ["BAD", "FAILED_TOO_OFTEN"]
    assert len(await worker.replies()) == 3
    assert await worker.is_settled()


async def test_what_failed_is_delivered_again_and_then_alone(broker):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await Worker.made(broker, handle, policy=RetryPolicy(failures=4))
    await worker.send(a_request("one"), a_request("Ada"), a_request("two"))
    await worker.rounds()
    assert handle.calls[0] == ["one", "Ada", "two"]
    assert all(len(call) == 1 for call in handle.calls[1:])
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]
    assert len(await worker.replies()) == 2


async def test_what_is_set_aside_is_counted_by_its_reason(broker):
    def counted():
        labels = ("user-creation", "CreateUserRequested", DURABLE, "SOME_REASON")
        return DEAD_LETTERS.labels(*labels)._value.get()

    before = counted()
    worker = await Worker.made(broker, by_name(Ada=Unprocessable("SOME_REASON")))
    await worker.send(a_request(), a_request())
    await worker.round()
    assert counted() == before + 2


class SlowToSetAside(MemoryBroker):
    """A broker that stores dead letters only when it is let, and refuses those of some."""

    def __init__(self):
        super().__init__(hurried=True)
        self.held, self.let, self.refused = [], asyncio.Event(), set()

    async def publish(self, postings):
        if postings[0].stream == DEAD.name:
            self.held += [posting.headers["ce-id"] for posting in postings]
            await self.let.wait()
            if self.refused & {posting.headers["ce-id"] for posting in postings}:
                raise StreamFull("no room for this one")
        return await super().publish(postings)


async def test_nobody_waits_for_the_dead_letters_of_a_batch_nor_one_of_them_for_another():
    broker = SlowToSetAside()
    worker = await Worker.made(broker, by_name())
    bad = [posting_of(a_request(), data=b"\xff") for _ in range(3)]
    await worker.send(*bad, *people(4))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.round())
        await until(lambda: broker.unsettled() == {DURABLE: 3})
        assert broker.held == [posting.headers["ce-id"] for posting in bad]
        assert len(await worker.replies()) == 4
        broker.let.set()
    assert await worker.is_settled()
    assert len(await worker.letters()) == 3


async def test_a_dead_letter_that_cannot_be_stored_comes_again_and_the_others_do_not():
    broker = SlowToSetAside()
    broker.let.set()
    worker = await Worker.made(broker, by_name())
    bad = [posting_of(a_request(), data=b"\xff") for _ in range(3)]
    await worker.send(*bad)
    broker.refused.add(bad[0].headers["ce-id"])
    await worker.round()
    assert broker.unsettled() == {DURABLE: 1}  # it is not let go of before it is stored
    assert len(await worker.letters()) == 2
    broker.refused.clear()
    broker.forget_acks()
    await worker.rounds()
    assert len(await worker.letters()) == 3
    assert await worker.is_settled()


async def test_the_tenth_failure_is_the_last(broker):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await Worker.made(broker, handle)
    await worker.send(a_request())
    await worker.rounds()
    assert len(handle.calls) == 10
    [letter] = await worker.letters()
    assert (letter.reason, letter.attempts) == ("FAILED_TOO_OFTEN", 10)
    assert worker.inbox.failures == {}  # a redrive begins anew


async def test_failures_are_counted_though_the_broker_forgets_them(broker):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await Worker.made(broker, handle)
    await worker.send(a_request())
    for _ in range(10):
        await worker.round()
        broker.forget_acks()
    assert {attempt for _, attempt in worker.seen} == {1}
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]


async def test_several_deliveries_of_one_message_that_fail_together_fail_once(broker):
    worker = await Worker.made(broker, by_name(Ada=ValueError()), policy=RetryPolicy(failures=9))
    request = a_request()
    again = replace(posting_of(request), subject=redrive_subject(USERS, DURABLE, "7"))
    await worker.send(request, again)
    await worker.round()
    assert worker.inbox.failures == {(DURABLE, request.request_id): 1}


async def test_without_an_inbox_the_brokers_count_decides(broker):
    handle = by_name(Ada=ValueError("some bug"))
    worker = await Worker.made(broker, handle, NoInbox(), policy=RetryPolicy(failures=3))
    await worker.send(a_request())
    await worker.rounds()
    assert len(handle.calls) == 3
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_wrong_number_of_answers_changes_nothing(broker, count):
    async def handle(messages):
        return [confirmed(messages[0])] * count

    worker = await Worker.made(broker, handle, policy=RetryPolicy(failures=1))
    await worker.send(a_request(), a_request())
    assert await worker.round() == 2
    assert await worker.replies() == []
    assert worker.inbox.rows == {}
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"] * 2


async def test_a_handler_that_takes_too_long_is_cut_off_and_tried_again(broker):
    cut = []

    async def handle(messages):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(len(messages))
            raise

    worker = await Worker.made(broker, handle, policy=RetryPolicy(failures=2))
    worker.consumer = replace(worker.consumer, handle_within=0.02)
    await worker.send(a_request())
    await worker.rounds()
    assert cut == [1, 1]
    assert await worker.reasons() == ["FAILED_TOO_OFTEN"]


def lines(logs, what):
    return [log for log in logs if log["event"] == what]


class Busy(NotNow):
    """As a service would call it."""


async def test_what_was_to_be_expected_is_logged_as_a_sentence_and_the_rest_with_its_trace(
    broker, logs
):
    bug = ValueError("ada@example.org is not a number")
    worker = await Worker.made(broker, by_name(busy=Busy("said 450"), bug=bug))
    for name in ("busy", "bug"):
        await worker.send(a_request(name))
        await worker.round()
    by_error = {line["error"]: line for line in lines(logs, "not handled")}
    expected, unexpected = by_error["Busy"], by_error["ValueError"]
    assert (expected["why"], expected["exc_info"]) == ("said 450", None)
    assert unexpected["why"] == ""
    assert isinstance(unexpected["exc_info"], ValueError)
    assert len(worker.inbox.failures) == 2  # both count


# What is away


@pytest.mark.parametrize("error", [DependencyDown("no server"), ConnectionRefusedError()])
async def test_a_dependency_that_is_away_consumes_nothing_however_long(broker, error, logs):
    answers = {"Ada": error}
    handle = by_name(**answers)
    worker = await Worker.made(broker, handle)
    await worker.send(a_request())
    for _ in range(500):
        assert await worker.round() == 1
    assert worker.seen[-1] == (1, 500)
    assert await worker.letters() == []
    assert worker.inbox.failures == {}
    assert worker.consumer.breaker.is_open
    assert {log["exc_info"] for log in logs} == {None}  # its type says it all, 500 times


async def test_what_is_held_when_a_dependency_goes_away_goes_back_untried(broker):
    handle = by_name(n0=DependencyDown("no server"))
    worker = await Worker.made(broker, handle)
    await worker.send(*people(5))
    await worker.round()  # together, in vain
    worker.consumer.breaker.succeeded()
    assert await worker.round() == 5  # each alone
    assert handle.calls[1:] == [["n0"]]
    assert await worker.letters() == []


class Flaky(MemoryInbox):
    """An inbox whose database goes away in the middle of counting."""

    async def failed(self, durable, message_ids, attempt):
        raise DependencyDown("no database")


async def test_a_database_that_is_away_when_a_failure_is_counted_counts_nothing(broker):
    worker = await Worker.made(broker, by_name(Ada=ValueError()), Flaky())
    await worker.send(a_request())
    for _ in range(30):
        await worker.round()
    assert await worker.letters() == []
    assert worker.consumer.breaker.is_open


async def test_a_full_stream_is_waited_for(broker):
    worker = await Worker.made(broker, by_name())
    await worker.send(a_request())
    config = stream_config(USERS)
    await broker.put_stream({**config, "max_bytes": 1})
    for _ in range(30):
        await worker.round()
    assert await worker.letters() == []
    assert worker.inbox.failures == {}
    assert worker.consumer.breaker.is_open
    await broker.put_stream(config)
    await worker.rounds()
    assert len(await worker.replies()) == 1


async def test_a_dead_letter_that_cannot_be_stored_is_not_forgotten(broker):
    worker = await Worker.made(broker, by_name(Ada=Unprocessable("BAD")))
    await broker.put_stream({**stream_config(DEAD), "max_bytes": 1})
    await worker.send(a_request())
    await worker.round()
    assert not await worker.is_settled()
    await broker.put_stream(stream_config(DEAD))
    broker.forget_acks()  # its ack wait is over
    await worker.round()
    assert await worker.reasons() == ["BAD"]
    assert await worker.is_settled()


async def test_a_crash_between_a_dead_letter_and_its_term_stores_no_second_one(broker):
    worker = await Worker.made(broker, by_name(Ada=Unprocessable("BAD")))
    await worker.send(a_request(), alien(ce_id=None))
    await worker.round()
    before = broker.messages("DEAD")
    broker.forget_acks()
    await worker.round()
    assert broker.messages("DEAD") == before
    assert len(before) == 2


async def test_what_cannot_be_settled_comes_again(broker):
    class Away(MemoryInbox):
        async def forget(self, durable, message_id):
            broker.is_away = True

    worker = await Worker.made(broker, by_name(Ada=Unprocessable("BAD")), Away())
    await worker.send(a_request())
    await worker.round()
    broker.is_away = False
    assert not await worker.is_settled()
    assert await worker.reasons() == ["BAD"]


# The loop


class Watched(MemoryBroker):
    """A broker that remembers how much was asked for."""

    def __init__(self):
        super().__init__(hurried=True)
        self.asked = []

    def pull(self, stream, durable):
        broker, context = self, super().pull(stream, durable)

        class Pull:
            async def __aenter__(self):
                pull = await context.__aenter__()
                fetch = pull.fetch

                async def watched(up_to, wait):
                    broker.asked.append(up_to)
                    return await fetch(up_to, wait)

                return type("", (), {"fetch": staticmethod(watched), "close": pull.close})

            async def __aexit__(self, *error):
                await context.__aexit__(*error)

        return Pull()


async def test_while_a_dependency_is_away_one_message_is_tried_and_then_all_go_on():
    broker, away = Watched(), True

    async def handle(messages):
        if away:
            raise DependencyDown("no server")
        return [confirmed(message) for message in messages]

    worker = await Worker.made(broker, handle, breaker=Breaker(pauses=(0.01,)))
    await worker.send(*people(50))
    async with Running(worker.consumer):
        await until(lambda: len(broker.asked) > 10)
        assert broker.asked[0] == 256
        assert set(broker.asked[2:]) == {1}
        away = False
        await until(worker.is_settled)
        assert not worker.consumer.breaker.is_open
        assert broker.asked[-1] == 256
    assert len(await worker.replies()) == 50
    assert await worker.letters() == []


async def test_nothing_is_fetched_while_the_breaker_pauses():
    broker = Watched()
    breaker = Breaker(pauses=(3600.0,))
    worker = await Worker.made(broker, by_name(n0=DependencyDown("no server")), breaker=breaker)
    await worker.send(*people(3))
    async with Running(worker.consumer):
        await until(lambda: breaker.is_open)
        asked = len(broker.asked)
        await worker.send(*people(3))
    assert len(broker.asked) == asked  # and it stopped at once, in the middle of the pause


async def test_what_is_in_hand_is_finished_before_it_stops(broker):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(messages):
        begun.set()
        await go_on.wait()
        return [confirmed(message) for message in messages]

    worker = await Worker.made(broker, handle, up_to=2)
    await worker.send(*people(5))
    async with Running(worker.consumer) as running:
        await begun.wait()
        running.stopping.set()
        await asyncio.sleep(0)
        assert not running.task.done()
        go_on.set()
    assert len(await worker.replies()) == 2
    assert (await broker.durables("USERS"))[DURABLE].ack_pending == 0


async def test_never_more_is_fetched_than_can_be_begun():
    broker, busy = Watched(), asyncio.Event()

    async def handle(messages):
        await busy.wait()
        return [None for _ in messages]

    worker = await Worker.made(broker, handle, up_to=2, at_once=3)
    await worker.send(*people(20))
    async with Running(worker.consumer):
        await until(lambda: broker.asked)
        assert (await broker.durables("USERS"))[DURABLE].ack_pending == 6
        assert broker.asked == [6]
        busy.set()
        await until(worker.is_settled)
    assert max(broker.asked) == 6


@pytest.mark.parametrize(("waiting", "begun"), [(1, 1), (3, 2), (5, 2)])
async def test_a_batch_begins_beside_another_only_in_a_backlog(waiting, begun):
    broker, sizes, go_on = Watched(), [], asyncio.Event()

    async def handle(messages):
        sizes.append(len(messages))
        await go_on.wait()
        return [None for _ in messages]

    worker = await Worker.made(broker, handle, up_to=2, at_once=2)
    await worker.send(*people(waiting))
    async with Running(worker.consumer):
        await until(lambda: len(sizes) == begun)
        await worker.send(a_request("late"))
        await asyncio.sleep(0.05)
        assert len(sizes) == begun
        assert broker.asked == [4]
        go_on.set()
        await until(worker.is_settled)
    assert sum(sizes) == waiting + 1


async def test_a_batch_is_fetched_beside_another_while_more_is_waiting():
    broker, sizes, go_on = Watched(), [], [asyncio.Event() for _ in range(9)]

    async def handle(messages):
        sizes.append(len(messages))
        await go_on[len(sizes) - 1].wait()
        return [None for _ in messages]

    worker = await Worker.made(broker, handle, up_to=2, at_once=2)
    await worker.send(*people(7))
    async with Running(worker.consumer):
        await until(lambda: len(sizes) == 2)
        go_on[0].set()
        await until(lambda: len(sizes) == 3)  # the second batch is still in hand
        for each in go_on:
            each.set()
        await until(worker.is_settled)
    assert broker.asked[:2] == [4, 2]
    assert sizes == [2, 2, 2, 1]


async def test_a_durable_that_is_gone_is_waited_for(broker, monkeypatch, logs):
    monkeypatch.setattr(module, "FETCH_WAIT", 0.01)
    worker = await Worker.made(broker, by_name())
    config = (await broker.durables("USERS"))[DURABLE].config
    async with Running(worker.consumer):
        await worker.send(a_request())
        await until(worker.is_settled)
        await broker.delete_durable("USERS", DURABLE)
        await until(lambda: [log for log in logs if log["event"] == "cannot consume"])
        await worker.send(a_request())
        await broker.put_durable("USERS", config)
        await until(worker.is_settled)
    assert len(await worker.replies()) == 2


async def test_a_batch_may_wait_to_fill(broker):
    handle = by_name()
    worker = await Worker.made(broker, handle, up_to=3, within=30.0)
    await worker.send(a_request("one"))
    async with Running(worker.consumer):
        for name in ("two", "three"):
            await until(lambda: not broker.unsettled() or broker.unsettled()[DURABLE] > 0)
            await worker.send(a_request(name))
        await until(worker.is_settled)
    assert handle.calls == [["one", "two", "three"]]


async def test_a_batch_does_not_wait_longer_than_it_may(broker):
    handle = by_name()
    worker = await Worker.made(broker, handle, up_to=3, within=0.05)
    await worker.send(a_request("one"))
    async with Running(worker.consumer):
        await until(worker.is_settled)
    assert handle.calls == [["one"]]


async def test_a_batch_that_fills_does_not_hold_up_the_end(broker):
    handle = by_name()
    worker = await Worker.made(broker, handle, up_to=3, within=3600.0)
    await worker.send(a_request("one"))
    async with Running(worker.consumer) as running:
        await until(lambda: broker.unsettled() == {DURABLE: 1})
        running.stopping.set()
    assert handle.calls in ([["one"]], [])
    assert await worker.is_settled() == bool(handle.calls)


# On a real broker


async def test_a_batch_that_fills_is_handled_although_its_durable_has_gone(nats):
    async def fetched():
        return (await nats.durables("USERS"))[DURABLE].ack_pending == 1

    handle = by_name()
    worker = await Worker.made(nats, handle, up_to=3, within=3600.0)
    await worker.send(a_request("one"))
    async with Running(worker.consumer):
        await until(fetched)
        await nats.delete_durable("USERS", DURABLE)
        await until(lambda: handle.calls == [["one"]])


async def test_a_batch_that_fills_is_kept_alive(nats, monkeypatch):
    """… also if each fetch for it is shorter than what passes between two words to the broker."""
    monkeypatch.setattr("seaway.fetching.FETCH_WAIT", 0.05)
    monkeypatch.setattr("seaway.jetstream.delivery.GRACE", 0.05)
    worker = await Worker.made(nats, by_name(), up_to=3, within=2.0, ack_wait=0.6)
    await worker.send(a_request())
    async with Running(worker.consumer):
        await until(worker.is_settled)
    found = (await nats.durables("USERS"))[DURABLE]
    assert (found.delivered, found.deliveries) == (1, 1)


@pytest.mark.parametrize(
    "lines",
    [
        (b"x-theirs: " + b"\xff" * 40_000,),
        (b"a/b: c", b"Status: 204", b"Description: not of the broker"),
    ],
    ids=["not text", "not a name, and like the broker's own"],
)
async def test_what_nobody_could_write_can_be_set_aside_and_read(nats, lines):
    worker = await Worker.made(nats, by_name())
    id = a_request().request_id
    subject = posting_of(a_request()).subject
    await raw_nats.publish(nats.connection.where, subject, (*lines, b"ce-id: " + id.encode()))
    await worker.send(a_request())
    while not await worker.is_settled():
        await worker.round(wait=0.2)
    [letter] = await worker.letters()
    assert (letter.reason, letter.message_id) == ("UNKNOWN_TYPE", id)
    assert len([stored async for stored in nats.scan("USERS", ">")]) == 3
    assert (await nats.read("USERS", subject)).headers["ce-id"] == id
    assert (await nats.next_after("USERS", ">", 0)).sequence == 1
    assert await redrive(nats, letter) == 4


@pytest.mark.parametrize("place", [0, 200])
async def test_on_a_real_broker_one_to_blame_is_set_aside_and_the_rest_is_answered(nats, place):
    handle = by_name(bad=Unprocessable("NO_SUCH_MAILBOX"))
    worker = await Worker.made(nats, handle)
    requests = people(256)
    requests[place] = a_request("bad")
    await worker.send(*requests)
    await worker.round(wait=2.0)
    await until(worker.is_settled)
    assert len(handle.calls) <= 2 * 8 + 1
    assert len(await worker.replies()) == 255
    assert [x.message_id for x in await worker.letters()] == [requests[place].request_id]


@pytest.mark.parametrize("ce_id", [None, "with an id"])
async def test_the_largest_message_that_a_stream_takes_can_be_set_aside(nats, ce_id):
    """… which is larger than any that we would say ourselves, and its letter is larger still."""
    worker = await Worker.made(nats, by_name())
    poison = alien(b"", ce_id=ce_id and a_request().request_id)
    body = b"\xff" * (MAX_STORED_BYTES - poison.size - 12)
    poison = replace(poison, data=body, most_bytes=MAX_STORED_BYTES)
    with pytest.raises(Exception, match="10054"):
        await worker.send(replace(poison, data=body + b"\xff"))
    await worker.send(poison)
    await worker.send(a_request())
    while not await worker.is_settled():
        await worker.round(wait=0.2)
    [letter] = await worker.letters()
    assert (letter.reason, letter.data) == ("UNDECODABLE", body)
    assert len(await worker.replies()) == 1


async def test_what_waits_its_turn_is_kept_alive(nats):
    """Repeated deliveries run one after the other, together for longer than the ack wait."""
    calls = []

    async def handle(messages):
        calls.append(len(messages))
        if len(calls) == 1:
            raise ValueError("fail together, and come again")
        await asyncio.sleep(0.3)  # the work itself
        return [confirmed(message) for message in messages]

    at_once = RetryPolicy(jitter=lambda _: 0.0)
    worker = await Worker.made(nats, handle, ack_wait=0.5, policy=at_once)
    await worker.send(*people(4))
    assert await worker.round(wait=2.0) == 4
    again = 0
    while again < 4:
        again += await worker.round(wait=2.0)
    await until(worker.is_settled)
    assert calls == [4, 1, 1, 1, 1]


def test_the_answers_to_all_deliveries_are_retried_alike():
    """A table of the ways out that the policy has, as far as the consumer relies on them."""
    for error, attempt in product([StreamFull(), BrokerUnavailable(), DependencyDown()], [0, 99]):
        assert isinstance(RetryPolicy().decide(error, attempt), Retry)
