"""A replay: a durable reads its stream again, on purpose, and nothing happens twice."""

import asyncio

import pytest
from brokers import InMemory, Real
from development import SEAWAY, environment, seaway
from seaway.commands.replay import first_of, plan
from seaway.errors import TopologyError
from seaway.topology import DurableSpec, apply, declared, drift
from seaway.topology.backbone import Durable
from structlog.testing import capture_logs
from waiting import until
from workers import DURABLE, USERS, Running, Worker, a_request, by_name


@pytest.fixture(autouse=True)
def logs():
    with capture_logs() as logs:
        yield logs


@pytest.fixture(params=[InMemory, Real], ids=["memory", "jetstream"])
async def place(request):
    async with request.param() as place:
        yield place


def a_durable(*, ack_floor, delivered=100, ack_pending=0, **config):
    config = {"deliver_policy": "all"} | config
    return Durable(config, 0, ack_pending, ack_floor, delivered)


# From where


@pytest.mark.parametrize(
    ("place", "ack_floor", "config", "first"),
    [
        (50, 100, {}, 50),
        (1, 100, {}, 1),
        (0, 100, {}, 1),
        (100, 100, {}, 100),
        (900, 100, {}, 101),
        (50, 10, {}, 11),  # 11 is in hand: the broker would forget it
        (5, 10, {}, 5),
        (5, 100, {"deliver_policy": "by_start_sequence", "opt_start_seq": 8}, 8),
        (9, 100, {"deliver_policy": "by_start_sequence", "opt_start_seq": 8}, 9),
        (1, 0, {"deliver_policy": "by_start_sequence", "opt_start_seq": 8}, 8),
    ],
)
def test_it_leaves_nothing_out_and_does_not_begin_before_the_beginning(
    place, ack_floor, config, first
):
    assert first_of(a_durable(ack_floor=ack_floor, **config), place) == first


def test_a_durable_that_was_not_made_by_topology_is_refused():
    with pytest.raises(TopologyError, match="not by topology"):
        first_of(a_durable(ack_floor=100, deliver_policy="new"), 50)


async def test_what_will_be_delivered_is_counted_and_nothing_is_left_of_the_counting(place):
    worker = await Worker.made(place.broker, by_name())
    await worker.send(*(a_request() for _ in range(10)))
    await worker.round(wait=1.0)
    await until(worker.is_settled)
    before = await place.broker.durables("USERS")
    for first, messages in ((1, 10), (4, 7), (10, 1), (11, 0)):
        planned = await plan(place.broker, "USERS", DURABLE, first)
        assert (planned.first, planned.messages) == (first, messages)
    assert await place.broker.durables("USERS") == before


async def test_a_replica_that_shows_nothing_is_not_taken_for_there_being_nothing():
    class Lagging:
        def __init__(self, broker):
            self.durables, self.next_after = broker.durables, broker.next_after

        async def count_after(self, stream, subjects, sequence):
            return 0

    async with InMemory() as place:
        worker = await Worker.made(place.broker, by_name())
        await worker.send(a_request())
        assert (await plan(Lagging(place.broker), "USERS", DURABLE, 1)).messages == 1
        assert (await plan(Lagging(place.broker), "USERS", DURABLE, 2)).messages == 0


# And what then happens


async def test_a_service_that_runs_goes_on_and_nothing_happens_again(place):
    handle = by_name()
    worker = await Worker.made(place.broker, handle)
    await worker.send(*(a_request(f"n{n}") for n in range(300)))
    async with Running(worker.consumer):
        await until(worker.is_settled)
        said, calls = await worker.replies(), len(handle.calls)
        await place.broker.rewind_durable("USERS", DURABLE, 1)
        assert not await worker.is_settled()
        await until(worker.is_settled)
        assert len(handle.calls) == calls
        assert await worker.replies() == said
        await worker.send(a_request("late"))
        await until(lambda: handle.calls[-1] == ["late"])
        await until(worker.is_settled)
    assert await worker.letters() == []
    assert len(await worker.replies()) == 301


async def test_what_the_inbox_has_lost_is_handled_again_with_the_same_replies(place):
    handle = by_name()
    worker = await Worker.made(place.broker, handle)
    await worker.send(*(a_request(f"n{n}") for n in range(5)))
    async with Running(worker.consumer):
        await until(worker.is_settled)
        said = await worker.replies()
        worker.inbox.rows.clear()
        await place.broker.rewind_durable("USERS", DURABLE, 3)
        await until(lambda: len(worker.inbox.rows) == 3)
        await until(worker.is_settled)
    assert [s.sequence for s in await worker.replies()] == [s.sequence for s in said]
    assert await worker.letters() == []


async def test_what_was_being_tried_when_it_began_is_not_forgotten(place):
    """One message is in hand and not settled; those after it are. A replay from a later place."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    handled = []

    async def handle(messages):
        for message in messages:
            if message.body.display_name == "slow" and not go_on.is_set():
                begun.set()
                await go_on.wait()
            handled.append(message.body.display_name)
        return [None for _ in messages]

    worker = await Worker.made(place.broker, handle, up_to=1, at_once=4)
    await worker.send(a_request("slow"))
    async with Running(worker.consumer):
        await begun.wait()
        await worker.send(*(a_request(f"n{n}") for n in range(3)))
        await until(lambda: len(handled) == 3)
        durable = (await place.broker.durables("USERS"))[DURABLE]
        first = first_of(durable, 4)
        await place.broker.rewind_durable("USERS", DURABLE, first)
        go_on.set()
        await until(worker.is_settled)
    assert first == 1
    assert "slow" in handled


async def test_topology_finds_nothing_to_do_after_a_replay(place):
    worker = await Worker.made(place.broker, by_name())
    await worker.send(*(a_request() for _ in range(3)))
    await worker.round(wait=1.0)
    await until(worker.is_settled)
    await apply(place.broker, wanted := declared([], [worker.consumer.subscription]))
    config = (await place.broker.durables("USERS"))[DURABLE].config
    await place.broker.rewind_durable("USERS", DURABLE, 2)
    assert (await place.broker.durables("USERS"))[DURABLE].config == config
    assert await drift(place.broker, wanted) == []
    assert await apply(place.broker, wanted) == []


async def test_a_durable_from_now_on_begins_at_a_place_that_it_can_be_wound_back_to(place):
    worker = await Worker.made(place.broker, by_name())
    await worker.send(*(a_request() for _ in range(3)))
    late = DurableSpec("mailer", "mailer", "USERS", ("users.v1.create-requested.*",), "now", 5, 9)
    await apply(place.broker, declared([USERS], [late]))
    await worker.send(*(a_request() for _ in range(2)))
    found = (await place.broker.durables("USERS"))["mailer"]
    assert found.pending == 2
    assert first_of(found, 1) == 4
    async with place.broker.pull("USERS", "mailer") as pull:
        deliveries = await pull.fetch(10, 1.0)
        for delivery in deliveries:
            await delivery.ack()
        await place.broker.rewind_durable("USERS", "mailer", 4)
        assert [d.sequence for d in await pull.fetch(10, 1.0)] == [4, 5]


# The command


async def run(server, *arguments):
    done = await asyncio.to_thread(seaway, "replay", *arguments, SEAWAY_NATS_URL=server.url)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


async def asked(server, *arguments, typed):
    """Run it as somebody who types an answer."""
    process = await asyncio.create_subprocess_exec(
        *(SEAWAY, "replay", *map(str, arguments)),
        env=environment() | {"SEAWAY_NATS_URL": server.url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(typed.encode())
    return said.decode()


async def test_the_command_says_what_it_will_do_asks_and_does_it():
    async with Real() as place:
        worker = await Worker.made(place.broker, by_name())
        await worker.send(*(a_request() for _ in range(5)))
        await worker.round(wait=1.0)
        await until(worker.is_settled)
        sentence = f"{DURABLE} reads USERS again from #3: 3 messages\n"
        some = ("--durable", DURABLE, "--from", "3")
        code, said, _ = await run(place.server, *some, "--dry-run")
        assert (code, said) == (0, f"{sentence}nothing was changed\n")
        said = await asked(place.server, *some, typed="n\n")
        assert said.endswith("nothing was changed\n")
        assert await worker.is_settled()
        code, said, _ = await run(place.server, *some, "--yes")
        assert (code, said) == (0, f"{sentence}begun\n")
        assert await worker.round(wait=1.0) == 3
        await until(worker.is_settled)
        said = await asked(place.server, *some[:2], "--from", "1h", typed="y\n")
        assert "from #1: 5 messages" in said
        assert await worker.round(wait=1.0) == 5
        await until(worker.is_settled)
        code, said, _ = await run(place.server, *some[:2], "--from", "99")
        assert said.endswith("0 messages\nnothing to do\n")
        assert len(await worker.replies()) == 5


async def test_the_command_refuses_what_is_not_there():
    async with Real() as place:
        await Worker.made(place.broker, by_name())
        code, _, complained = await run(place.server, "--durable", "nobody", "--from", "1")
        assert code == 3
        assert f"there is no durable nobody; there are: {DURABLE}" in complained
        for wrong in ("sometime", "2999-01-01"):
            code, _, complained = await run(place.server, "--durable", DURABLE, "--from", wrong)
            assert code == 2
            assert wrong in complained
