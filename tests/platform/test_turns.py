"""In which order what comes again is tried: the worst last, so that it holds up nobody else."""

import pytest
from acme.users.v1 import CreateUserRequested
from seaway import Service
from seaway.consumer import Consumer
from seaway.contract import address_of
from seaway.database import Database, SqlInbox
from seaway.dead_letters import DEAD
from seaway.envelope import Envelope
from seaway.errors import DependencyDown
from seaway.inbox import MemoryInbox, Trials
from seaway.testing import MemoryBroker
from seaway.topology import apply, declared
from user_creation.users import MIGRATIONS

DURABLE = "greeter-create-user-requested"
IDS = [f"0000000{n}-0000-4000-8000-000000000000" for n in range(4)]


def opening(request_id):
    body = CreateUserRequested(request_id=request_id, email="ada@example.org", display_name="Ada")
    return Envelope.opening(body, source="test").posting()


async def redelivered(inbox, handle):
    """A consumer, and four messages that each come to it for the second time."""
    broker, service = MemoryBroker(), Service("greeter", inbox)
    service.on_batch(CreateUserRequested)(handle)
    [subscription] = service.subscriptions
    await apply(broker, declared([DEAD, address_of(CreateUserRequested).stream], [subscription]))
    await broker.publish([opening(request_id) for request_id in IDS])
    async with broker.pull("USERS", DURABLE) as pull:
        for delivery in await pull.fetch(4, 0):
            await delivery.nak()
        deliveries = await pull.fetch(4, 0)
    assert [delivery.attempt for delivery in deliveries] == [2] * 4
    return broker, Consumer(subscription, broker, inbox), deliveries


async def test_what_has_made_trouble_is_tried_last():
    tried = []

    async def handle(messages):
        tried.append([message.id for message in messages])
        return [None] * len(messages)

    inbox = MemoryInbox()
    inbox.failures.update({(DURABLE, IDS[0]): 2, (DURABLE, IDS[2]): 1})
    _, consumer, deliveries = await redelivered(inbox, handle)
    others, suspects = await consumer.told_apart(deliveries)
    assert not suspects
    await consumer.in_turn(others)
    assert tried == [[IDS[1]], [IDS[3]], [IDS[2]], [IDS[0]]]


async def test_what_is_done_is_settled_before_the_next_is_tried():
    """A message that ends the process takes nothing back with it, and no blame falls on others."""
    left = []

    async def handle(messages):
        left.append(broker.unsettled().get(DURABLE, 0))
        return [None] * len(messages)

    broker, consumer, deliveries = await redelivered(MemoryInbox(), handle)
    await consumer.in_turn(deliveries)
    assert left == [4, 3, 2, 1]


@pytest.fixture
async def inboxes(database_url):
    """One inbox as two processes see it."""
    async with Database(database_url, "user_creation", MIGRATIONS) as database:
        await database.migrate()
        yield SqlInbox(database), SqlInbox(database)


async def test_failures_and_trials_that_were_never_ended_are_trouble(inboxes):
    ours, theirs = inboxes
    await theirs.failed(DURABLE, [IDS[0]], 1)
    await theirs.failed(DURABLE, [IDS[0]], 2)
    await theirs.begun(DURABLE, IDS[1], 2)
    await ours.begun(DURABLE, IDS[2], 2)
    await theirs.failed("another", [IDS[3]], 1)
    trouble = await ours.trouble(DURABLE, IDS)
    assert trouble == {IDS[0]: Trials(failures=2), IDS[1]: Trials(kills=1), IDS[2]: Trials()}


async def test_to_ask_for_trouble_makes_none(inboxes):
    """Whoever is on record as tried is blamed if the process dies, so asking is no trial."""
    ours, theirs = inboxes
    await theirs.begun(DURABLE, IDS[0], 2)
    for _ in range(3):
        assert await ours.trouble(DURABLE, IDS) == {IDS[0]: Trials(kills=1)}
        assert await theirs.trouble(DURABLE, IDS) == {IDS[0]: Trials()}


async def test_while_the_inbox_cannot_answer_all_that_comes_again_is_suspect(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/gone/a.db"
    async with Database(url, "user_creation", MIGRATIONS) as database:
        inbox = SqlInbox(database)
        with pytest.raises(DependencyDown):
            await inbox.trouble(DURABLE, IDS)
        _, consumer, deliveries = await redelivered(inbox, None)
        others, suspects = await consumer.told_apart(deliveries)
        assert others == []
        assert [suspect.delivery for suspect in suspects] == list(deliveries)
