"""What seaway.testing promises to those who test a service."""

import asyncio
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested, SignUpEmailHandled
from brokers import STREAM, a_posting
from seaway import BrokerUnavailable, ContractError, DependencyDown, Service, Unprocessable
from seaway.errors import SeawayError
from seaway.inbox import MemoryInbox
from seaway.jetstream import JetStream
from seaway.testing import MemoryBroker, nats_server, running
from seaway.topology import apply, declared


def a_request(**fields):
    known = {"request_id": str(uuid4()), "email": "ada@example.org", "display_name": "Ada"}
    return CreateUserRequested(**known | fields)


def user_creation():
    service = Service("user-creation", MemoryInbox())

    @service.on_batch(CreateUserRequested)
    async def create(messages):
        return [
            CreateUserConfirmed(
                request_id=message.body.request_id,
                user_id=str(uuid4()),
                email=message.body.email,
            )
            for message in messages
        ]

    return service


def welcome_email(greet):
    service = Service("welcome-email")

    @service.on(CreateUserConfirmed, start="now")
    async def handle(message):
        await greet(message.body.email)
        return SignUpEmailHandled(request_id=message.body.request_id)

    return service


class Mailbox(list):
    async def __call__(self, address):
        self.append(address)


async def test_sending_waits_for_all_that_it_causes():
    mails = Mailbox()
    async with running(user_creation(), welcome_email(mails)) as system:
        await system.send(a_request())
        assert mails == ["ada@example.org"]
        assert [type(body) for body in system.published] == [
            CreateUserConfirmed,
            SignUpEmailHandled,
        ]
    assert system.dead_letters == []


async def test_several_messages_are_sent_at_once():
    async with running(user_creation()) as system:
        await system.send(*(a_request(email=f"{n}@example.org") for n in range(300)))
    assert len(system.published) == 300


async def test_a_message_that_is_sent_again_is_not_handled_again():
    mails, request = Mailbox(), a_request()
    async with running(user_creation(), welcome_email(mails)) as system:
        await system.send(request)
        await system.send(request)
    assert len(mails) == 1


async def test_another_message_with_the_same_key_cannot_be_sent():
    request = a_request()
    async with running(user_creation()) as system:
        await system.send(request)
        with pytest.raises(ContractError, match=request.request_id):
            await system.send(a_request(request_id=request.request_id, email="b@example.org"))


async def test_everything_can_be_delivered_again():
    mails = Mailbox()
    async with running(user_creation(), welcome_email(mails)) as system:
        await system.send(a_request())
        before = list(system.published)
        await system.deliver_all_again()
    assert mails == ["ada@example.org"] * 2
    assert system.published == before


async def test_the_reason_for_which_a_message_was_set_aside_is_shown():
    async def refuse(_):
        raise Unprocessable("NO_SUCH_MAILBOX")

    async with running(welcome_email(refuse)) as system:
        await system.send(
            CreateUserConfirmed(request_id=str(uuid4()), user_id=str(uuid4()), email="x")
        )
    assert system.dead_letters == ["NO_SUCH_MAILBOX"]


async def test_retries_are_not_waited_for():
    mails, failures = Mailbox(), [DependencyDown("no mail server")] * 3

    async def greet(address):
        if failures:
            raise failures.pop()
        mails.append(address)

    async with asyncio.timeout(3), running(user_creation(), welcome_email(greet)) as system:
        await system.send(a_request())
    assert mails == ["ada@example.org"]


async def test_what_is_never_settled_is_named():
    async def hang(_):
        await released.wait()

    released = asyncio.Event()
    async with running(user_creation(), welcome_email(hang)) as system:
        with pytest.raises(TimeoutError, match="welcome-email-create-user-confirmed: 1"):
            await system.send(a_request(), within=0.2)
        released.set()


async def test_the_error_that_ends_a_service_ends_the_test():
    class Broken(MemoryBroker):
        def pull(self, stream, durable):
            raise RuntimeError("broken")

    with pytest.RaisesGroup(RuntimeError):
        async with running(user_creation(), broker=Broken()) as system:
            await system.send(a_request())


async def test_a_failed_assertion_is_shown_as_it_is():
    with pytest.raises(AssertionError, match="as it is"):
        async with running(user_creation()):
            raise AssertionError("as it is")


# A real broker


async def test_a_real_broker_comes_back_on_its_port_with_what_it_stored():
    async with nats_server() as server:
        async with JetStream(server.url, "test") as broker:
            await broker.connected()
            await apply(broker, declared([STREAM], []))
            await broker.publish([a_posting("key-1")])
        url, pid = server.url, server.pid
        await server.kill()
        with pytest.raises(SeawayError, match="not running"):
            server.pause()
        await server.restart()
        assert server.url == url
        assert server.pid != pid
        async with JetStream(server.url, "test") as broker:
            await broker.connected()
            assert (await broker.read("TEST", "test.v1.done.key-1")).data == b"data"


async def test_a_paused_broker_answers_nothing_until_it_goes_on():
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        await apply(broker, declared([STREAM], []))
        server.pause()
        with pytest.raises(BrokerUnavailable):
            await broker.read("TEST", "test.v1.done.key-1")
        server.resume()
        assert await broker.read("TEST", "test.v1.done.key-1") is None


async def test_a_broker_that_does_not_start_says_why():
    with pytest.raises(SeawayError, match="Parse error"):
        async with nats_server("nonsense: {"):
            pass


async def test_two_real_brokers_run_side_by_side():
    async with nats_server() as one, nats_server() as other:
        assert one.port != other.port
