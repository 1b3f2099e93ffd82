"""Dead letters: what is kept of a message, and the way back to the one durable that gave up."""

import asyncio
import hashlib
import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import typer
from development import SEAWAY, environment, seaway
from seaway.broker import Posting
from seaway.commands import redriving
from seaway.commands.moments import moment_of
from seaway.commands.redriving import redrive_each
from seaway.dead_letters import DEAD, Letter, discard, discarded, letters, redrive, stream_with
from seaway.errors import ContractError, KeyReused, Unprocessable
from seaway.jetstream import JetStream
from seaway.service import Service, redrive_subject
from seaway.testing import MemoryBroker, nats_server
from seaway.topology import apply, declared
from structlog.testing import capture_logs
from waiting import until
from workers import DURABLE, USERS, Running, Worker, a_request, alien, by_name, posting_of

BAD = Unprocessable("BAD")


@pytest.fixture(autouse=True)
def logs():
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def broker():
    return MemoryBroker(hurried=True)


async def with_letters(broker, *bodies, **answers):
    """A worker that has set everybody aside who is called bad, and what is no request."""
    worker = await Worker.made(broker, by_name(**answers or {"bad": BAD}))
    await worker.send(*bodies)
    await worker.rounds()
    return worker


def mended(worker):
    """The same worker, after somebody has mended what was wrong."""
    handle = by_name()
    subscription = worker.consumer.subscription
    service = Service("user-creation")
    service.on_batch(type(a_request()))(handle)
    fixed = replace(subscription, handle=service.subscriptions[0].handle)
    return Worker(worker.broker, replace(worker.consumer, subscription=fixed)), handle


# The way back


async def test_a_redriven_message_is_handled_and_its_letter_is_gone(broker):
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    fixed, handle = mended(worker)
    assert await redrive(broker, letter) == 2
    assert await worker.letters() == []
    await fixed.rounds()
    assert handle.calls == [["bad"]]
    assert len(await worker.replies()) == 1


async def test_a_redrive_keeps_the_message_as_it_was(broker):
    request = a_request("bad")
    worker = await with_letters(broker, request)
    [letter] = await worker.letters()
    await redrive(broker, letter)
    before, after = broker.messages("USERS")
    assert (after.data, after.headers) == (before.data, before.headers)
    assert after.subject == f"users.v1.redrive.{DURABLE}.1"


async def test_a_redrive_reaches_only_the_durable_that_gave_up(broker):
    worker = await with_letters(broker, a_request("bad"))
    others = Service("crm")
    others.on_batch(type(a_request()))(by_name())
    others.on_stream("USERS")(by_name())
    await apply(broker, declared([DEAD, USERS], others.subscriptions))
    for durable in ("crm-create-user-requested", "crm-users"):
        async with broker.pull("USERS", durable) as pull:
            for delivery in await pull.fetch(9, 0):
                await delivery.ack()
    [letter] = await worker.letters()
    await redrive(broker, letter)
    assert broker.unsettled() == {DURABLE: 1}


async def test_a_redrive_of_what_was_handled_meanwhile_does_nothing(broker):
    request = a_request("bad")
    worker = await with_letters(broker, request)
    fixed, handle = mended(worker)
    broker.forget_acks()  # somebody replayed the durable
    await fixed.rounds()
    said = await worker.replies()
    [letter] = await worker.letters()
    await redrive(broker, letter)
    await fixed.rounds()
    assert handle.calls == [["bad"]]
    assert await worker.replies() == said
    assert await worker.letters() == []


async def test_a_redriven_message_that_fails_again_has_a_letter_again(broker):
    worker = await with_letters(broker, a_request("bad"))
    for sequence in (2, 3, 4):
        [letter] = await worker.letters()
        assert await redrive(broker, letter) == sequence
        await worker.rounds()
    [letter] = await worker.letters()
    assert letter.reason == "BAD"
    assert letter.original_subject == f"users.v1.redrive.{DURABLE}.3"


async def test_a_message_that_fails_again_before_its_letter_is_removed_is_not_lost(broker):
    """The redrive publishes; the worker is faster than the redrive's next step."""
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()

    class Overtaken(MemoryBroker):
        async def publish(self, postings):
            answers = await broker.publish(postings)
            await worker.rounds()
            return answers

        async def remove(self, stream, sequence):
            return await broker.remove(stream, sequence)

    await redrive(Overtaken(), letter)
    [again] = await worker.letters()
    assert (again.message_id, again.data) == (letter.message_id, letter.data)
    assert again.sequence != letter.sequence


class CutOff(Exception):
    """What a Ctrl-C or a power cut is to a redrive."""


class Failing:
    """A shelf at which a redrive is cut off: before or after one of its two steps."""

    def __init__(self, broker, step, *, done):
        self.broker, self.step, self.done = broker, step, done

    async def publish(self, postings):
        return await self._maybe("publish", self.broker.publish, postings)

    async def remove(self, stream, sequence):
        return await self._maybe("remove", self.broker.remove, stream, sequence)

    async def _maybe(self, step, call, *arguments):
        if step != self.step:
            return await call(*arguments)
        if self.done:
            await call(*arguments)
        raise CutOff


@pytest.mark.parametrize("handled_meanwhile", [True, False])
@pytest.mark.parametrize(
    ("step", "done"), [("publish", False), ("publish", True), ("remove", False), ("remove", True)]
)
async def test_a_redrive_may_be_cut_off_anywhere_and_repeated(
    broker, step, done, handled_meanwhile
):
    worker = await with_letters(broker, a_request("bad"))
    fixed, handle = mended(worker)
    [letter] = await worker.letters()
    with pytest.raises(CutOff):
        await redrive(Failing(broker, step, done=done), letter)
    if handled_meanwhile:
        await fixed.rounds()
    for left in await worker.letters():
        await redrive(broker, left)
    await fixed.rounds()
    assert handle.calls == [["bad"]]
    assert len(broker.messages("USERS")) == 3  # asked, redriven once, answered
    assert await worker.letters() == []


async def test_a_number_that_was_used_for_another_message_is_refused_and_nothing_is_lost(broker):
    """The stream of dead letters was made anew, and its numbers begin again."""
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    subject = redrive_subject(USERS, DURABLE, "1")
    await worker.send(posting_of(a_request("other"), subject=subject))
    with pytest.raises(KeyReused, match=r"redrive\..*\.1"):
        await redrive(broker, letter)
    assert await worker.letters() == [letter]


async def test_a_message_of_no_known_stream_cannot_be_redriven(broker):
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    with pytest.raises(ContractError, match=r"orders\.v1\.made"):
        await redrive(broker, replace(letter, original_subject="orders.v1.made.x"))
    assert await worker.letters() == [letter]
    assert stream_with("users.v1.x") == USERS


async def test_a_letter_is_thrown_away_once(broker):
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    assert await discard(broker, letter)
    assert not await discard(broker, letter)
    assert await worker.letters() == []


async def test_of_what_was_redriven_meanwhile_nobody_notes_that_it_was_thrown_away(broker):
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    await redrive(broker, letter)
    assert await discard(broker, letter) is False
    assert [note async for note in discarded(broker)] == []


async def test_of_what_was_thrown_away_a_note_stays_without_the_body(broker):
    worker = await with_letters(broker, a_request("bad"))
    [letter] = await worker.letters()
    assert await discard(broker, letter) is True
    assert await discard(broker, letter) is False  # and it is still noted
    [note] = [note async for note in discarded(broker)]
    assert (note.durable, note.sha256) == (DURABLE, hashlib.sha256(letter.data).digest())
    assert note.headers == letter.headers
    assert broker.messages(DEAD.name)[-1].data == b""


async def test_letters_are_found_by_durable_and_by_reason(broker):
    worker = await with_letters(broker, a_request("bad"), alien(), a_request("bad"))

    async def found(**filters):
        return [letter.reason async for letter in letters(broker, **filters)]

    assert await found() == await found(durable=DURABLE) == ["BAD", "UNDECODABLE", "BAD"]
    assert await found(reason="UNDECODABLE") == ["UNDECODABLE"]
    assert await found(durable="crm-users") == []
    assert len(await worker.letters()) == 3


async def test_what_somebody_else_put_among_the_letters_is_shown_too(broker):
    await with_letters(broker)
    strange = {"seaway-attempts": "many", "seaway-first-at": "yesterday", "ce-type": "x"}
    for n, headers in enumerate(({}, strange)):
        await broker.publish([Posting("DEAD", f"dead.x.y{n}", b"?", headers)])
    for stored in broker.messages("DEAD"):
        letter = Letter.of(stored)
        assert (letter.reason, letter.attempts, letter.durable) == ("NOT_OURS", 0, "x")
        assert letter.first_at == letter.last_at == stored.at
        assert letter.message_id == stored.subject.rpartition(".")[2]
        assert await discard(broker, letter)


# Several, one after the other


def one_by_one(broker, found, *, within=10.0, per_second=1e6, stopping=None):
    return redrive_each(
        broker,
        found,
        per_second=per_second,
        within=within,
        stopping=stopping or asyncio.Event(),
    )


async def results(*asked, **more):
    return [redriven.result async for redriven in one_by_one(*asked, **more)]


async def test_each_is_waited_for_until_it_is_handled(broker):
    worker = await with_letters(broker, *(a_request("bad") for _ in range(5)))
    fixed, handle = mended(worker)
    async with Running(fixed.consumer):
        assert await results(broker, await worker.letters()) == ["handled"] * 5
    assert handle.calls == [["bad"]] * 5
    assert await worker.letters() == []


async def test_what_comes_back_is_told_and_after_three_in_a_row_the_rest_is_left_alone(broker):
    worker = await with_letters(broker, *(a_request("bad") for _ in range(5)))
    before = await worker.letters()
    async with Running(worker.consumer):
        came = [each async for each in one_by_one(broker, before)]
    assert [(each.result, each.why) for each in came] == [("came back", "BAD")] * 3
    assert len(await worker.letters()) == 5
    assert [letter.sequence for letter in await worker.letters()][:2] == [4, 5]


async def test_what_a_replica_does_not_show_yet_has_come_back_all_the_same():
    class Lagging(MemoryBroker):
        """One of which the replica that is asked for a letter has none."""

        async def read(self, stream, subject):
            return None if stream == DEAD.name else await super().read(stream, subject)

    broker = Lagging(hurried=True)
    worker = await with_letters(broker, a_request("bad"))
    async with Running(worker.consumer):
        assert await results(broker, await worker.letters()) == ["came back"]


async def test_one_that_is_handled_in_between_begins_the_row_anew(broker):
    names = ["bad", "bad", "good", "bad", "bad", "good", "bad"]
    worker = await with_letters(broker, *(a_request(n) for n in names), bad=BAD, good=BAD)
    some = by_name(bad=BAD)
    subscription = replace(worker.consumer.subscription, handle=some)
    async with Running(replace(worker.consumer, subscription=subscription)):
        came = await results(broker, await worker.letters())
    assert came == [
        *("came back", "came back", "handled"),
        *("came back", "came back", "handled", "came back"),
    ]


async def test_what_becomes_of_a_message_that_nobody_takes_is_unknown(broker):
    worker = await with_letters(broker, a_request("bad"))
    assert await results(broker, await worker.letters(), within=0.01) == ["unknown"]
    assert await worker.letters() == []
    assert broker.unsettled() == {DURABLE: 1}


async def test_what_cannot_be_sent_back_stays(broker):
    worker = await with_letters(broker, *(a_request("bad") for _ in range(2)))
    one, two = await worker.letters()
    lost = [replace(one, durable="nobody"), replace(two, original_subject="orders.v1.x")]
    refused = [each async for each in one_by_one(broker, lost)]
    assert [each.result for each in refused] == ["refused"] * 2
    assert "no durable nobody" in refused[0].why
    assert await worker.letters() == [one, two]


async def test_an_interruption_is_heeded_while_one_is_waited_for(broker):
    worker = await with_letters(broker, *(a_request("bad") for _ in range(3)))
    stopping = asyncio.Event()

    async def interrupt():
        await until(lambda: len(broker.messages("USERS")) > 3)
        stopping.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(interrupt())
        came = [x async for x in one_by_one(broker, await worker.letters(), stopping=stopping)]
    assert [(each.result, each.why) for each in came] == [("unknown", "interrupted")]
    assert len(await worker.letters()) == 2


async def test_never_more_are_sent_than_so_many_in_a_second(broker, monkeypatch):
    worker = await with_letters(broker, *(a_request("bad") for _ in range(3)))
    fixed, _ = mended(worker)
    async with Running(fixed.consumer):
        found = await worker.letters()
        pauses = []

        async def watched(stopping, within):
            pauses.append(within)
            await asyncio.sleep(0)
            return stopping.is_set()

        monkeypatch.setattr(redriving, "LOOK_EVERY", 0.0)
        monkeypatch.setattr(redriving, "told", watched)
        assert await results(broker, found, per_second=0.1) == ["handled"] * 3
    between = [pause for pause in pauses if pause]
    assert len(between) == 3
    assert all(9 < pause <= 10 for pause in between)


# The commands


@pytest.fixture
async def place():
    """A broker, and a worker on it that has set five requests aside."""
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        worker = await Worker.made(broker, by_name(bad=BAD))
        await worker.send(*(a_request("bad", email="secret@example.org") for _ in range(4)))
        await worker.send(alien(b"\xff\xff", ce_id=None))
        while not await worker.is_settled():
            await worker.round(wait=0.2)
        worker.url = server.url
        yield worker


async def run(worker, *arguments, interrupt_after=None):
    """Run `seaway dead-letters …`; return its code, its output and its complaints."""
    words, told = ("dead-letters", *map(str, arguments)), {"SEAWAY_NATS_URL": worker.url}
    if interrupt_after:
        code, said, complained = await interrupted(words, told, interrupt_after)
    else:
        done = await asyncio.to_thread(seaway, *words, **told)
        code, said, complained = done.returncode, done.stdout, done.stderr
    assert "Traceback" not in complained
    return code, said, complained


async def interrupted(words, told, after):
    """Run a command and press Ctrl-C once something holds; return the same."""
    process = await asyncio.create_subprocess_exec(
        *(SEAWAY, *words),
        env=environment() | told,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await until(after, within=20)
    process.send_signal(signal.SIGINT)
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


def objects(said):
    return [json.loads(line) for line in said.splitlines()]


async def test_the_list_has_a_line_for_each_and_nothing_personal(place):
    code, said, _ = await run(place, "list")
    assert code == 0
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ["#1", "#2", "#3", "#4", "#5"]
    assert f"{DURABLE}  BAD  CreateUserRequested  " in lines[0]
    assert f"{DURABLE}  UNDECODABLE  CreateUserRequested  sequence-5" in lines[4]
    _, said, _ = await run(place, "list", "--json", "--reason", "UNDECODABLE", "--since", "1h")
    [letter] = objects(said)
    assert letter == letter | {
        "number": 5,
        "durable": DURABLE,
        "reason": "UNDECODABLE",
        "message_id": "sequence-5",
        "attempts": 1,
        "version": "1.2.3",
        "bytes": 2,
    }
    for nothing in (("--durable", "crm"), ("--reason", "NOBODY")):
        code, said, complained = await run(place, "list", *nothing)
        assert (code, said, complained) == (0, "", "nothing to do: no dead letter fits\n")


async def test_one_is_shown_with_its_headers_and_masked_unless_asked(place):
    code, said, _ = await run(place, "show", 1)
    assert code == 0
    assert "ce-type: acme.users.v1.CreateUserRequested" in said
    assert "email: '***'" in said
    assert "secret" not in said
    _, said, _ = await run(place, "show", 1, "--show-personal", "--json")
    [shown] = objects(said)
    assert shown["body"]["email"] == "secret@example.org"
    assert shown["headers"]["ce-id"] == shown["message_id"]
    _, said, _ = await run(place, "show", 5)
    assert "body  2 bytes, UNDECODABLE" in said
    code, _, complained = await run(place, "show", 9)
    assert (code, complained) == (3, "there is no dead letter #9 that fits\n")


async def test_what_is_redriven_is_waited_for_and_told(place):
    fixed, handle = mended(place)
    code, said, _ = await run(place, "redrive", "--dry-run", 1, 2)
    assert code == 0
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == ["would redrive"] * 2
    assert len(await place.letters()) == 5
    async with Running(fixed.consumer):
        code, said, _ = await run(place, "redrive", 1, 2, "--json")
        assert code == 0
        assert [each["result"] for each in objects(said)] == ["handled"] * 2
        code, said, _ = await run(place, "redrive")
        assert code == 1
        assert said.splitlines()[-1].endswith(": came back (UNDECODABLE)")
    assert handle.calls == [["bad"]] * 4
    assert [letter.reason for letter in await place.letters()] == ["UNDECODABLE"]
    code, _, complained = await run(place, "redrive", "--reason", "BAD")
    assert (code, complained) == (0, "nothing to do: no dead letter fits\n")
    code, _, complained = await run(place, "redrive", 99)
    assert (code, complained) == (3, "there is no dead letter #99 that fits\n")


async def test_a_redrive_that_is_interrupted_says_what_it_left(place):
    sent = redrive_subject(USERS, DURABLE, "1")

    async def under_way():
        return await place.broker.read("USERS", sent)

    code, said, complained = await run(place, "redrive", interrupt_after=under_way)
    assert code == 3
    assert said.count("\n") == 1
    assert said.endswith(": unknown (interrupted)\n")
    assert "stopped, interrupted: 4 left where they were" in complained
    assert "1 sent back and not settled yet" in complained
    assert len(await place.letters()) == 4


async def test_nobody_who_takes_them_stops_a_redrive_and_a_long_one_says_how_far_it_is(place):
    code, said, complained = await run(place, "redrive", "--within", 1)
    assert code == 3
    assert said.count("unknown (not settled within 1 s)") == 3
    assert " of 5\n" in complained
    assert "stopped, 3 in a row were not handled: 2 left where they were" in complained


async def test_what_is_discarded_has_to_be_chosen(place):
    code, said, complained = await run(place, "discard")
    assert (code, said) == (2, "")
    assert "say which" in complained
    code, said, _ = await run(place, "discard", "--all", "--dry-run")
    assert said.count("would discard") == 5
    code, said, _ = await run(place, "discard", 5, "--json")
    assert [(x["number"], x["result"]) for x in objects(said)] == [(5, "discarded")]
    code, said, _ = await run(place, "discard", "--reason", "BAD")
    assert said.count(": discarded\n") == 4
    assert await place.letters() == []
    code, _, complained = await run(place, "discard", "--all")
    assert (code, complained) == (0, "nothing to do: no dead letter fits\n")


async def test_a_broker_without_dead_letters_says_what_to_do():
    async with nats_server() as server:
        worker = type("", (), {"url": server.url})
        code, _, complained = await run(worker, "list")
    assert code == 1
    assert "there is no stream DEAD: seaway topology apply makes it" in complained


def test_a_moment_is_typed_as_so_long_ago_or_as_a_time():
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    for text, ago in (("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)):
        assert moment_of(text, now) == now - timedelta(seconds=ago)
    for text in ("2026-11-23T12:00:00Z", "2026-11-23T13:00:00+01:00"):
        assert moment_of(text, now) == now
    assert moment_of("2026-11-20").tzinfo == UTC
    for wrong in ("2 h", "h", "", "yesterday", "2w", "2999-01-01"):
        with pytest.raises(typer.BadParameter):
            moment_of(wrong)


async def test_a_wrong_moment_is_wrong_usage(place):
    code, _, complained = await run(place, "list", "--since", "yesterday")
    assert code == 2
    assert "yesterday" in complained
