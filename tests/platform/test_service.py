"""What a service declares by its handlers."""

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from seaway.contract import address_of, installed_types
from seaway.envelope import Envelope
from seaway.errors import ContractError
from seaway.service import Service, kebab, redrive_subject

REQUEST = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"


def confirmed():
    return Envelope.opening(CreateUserConfirmed(request_id=REQUEST), "test")


def test_a_durable_is_named_after_service_and_message_never_after_the_function():
    service = Service("welcome-email")

    @service.on(CreateUserConfirmed, start="now", at_once=3)
    async def any_name(message):
        """Greet."""

    (subscription,) = service.subscriptions
    assert subscription.durable == "welcome-email-create-user-confirmed"
    assert subscription.subjects == (
        "users.v1.create-confirmed.*",
        "users.v1.redrive.welcome-email-create-user-confirmed.*",
    )
    assert subscription.messages == (CreateUserConfirmed,)
    assert (subscription.start, subscription.at_once, subscription.up_to) == ("now", 3, 1)
    assert (subscription.stream.name, subscription.ack_wait) == ("USERS", 5.0)


async def test_a_handler_of_one_message_is_given_each_of_a_batch_in_order():
    service = Service("welcome-email")

    @service.on(CreateUserConfirmed)
    async def greet(message):
        return CreateUserRejected(request_id=message.id)

    (subscription,) = service.subscriptions
    assert await subscription.handle([confirmed()]) == [CreateUserRejected(request_id=REQUEST)]
    assert await greet(confirmed()) == CreateUserRejected(request_id=REQUEST)


async def test_a_batch_handler_is_given_the_batch():
    service = Service("user-creation")

    @service.on_batch(CreateUserRequested, up_to=100, within=0.5)
    async def create(messages):
        return [None for _ in messages]

    (subscription,) = service.subscriptions
    assert subscription.durable == "user-creation-create-user-requested"
    assert (subscription.up_to, subscription.at_once, subscription.within) == (100, 1, 0.5)
    assert subscription.start == "beginning"
    assert await subscription.handle([confirmed(), confirmed()]) == [None, None]
    assert await create([]) == []


def test_a_projection_is_given_every_message_of_a_stream_one_batch_at_a_time():
    service = Service("data-warehouse")

    @service.on_stream("USERS", up_to=10, within=1.0)
    async def project(messages):
        """Write them down."""

    (subscription,) = service.subscriptions
    assert subscription.durable == "data-warehouse-users"
    types = installed_types().values()
    assert subscription.subjects == (
        *(f"{address_of(type_).subject}.*" for type_ in types),
        "users.v1.redrive.data-warehouse-users.*",  # and nobody else's
    )
    assert set(subscription.messages) == set(installed_types().values())
    assert (subscription.up_to, subscription.at_once, subscription.within) == (10, 1, 1.0)
    assert project.__doc__ == "Write them down."


def test_a_stream_that_no_contract_declares_cannot_be_listened_to():
    with pytest.raises(ContractError, match="no installed contract declares stream ORDERS"):
        Service("data-warehouse").on_stream("ORDERS")


def test_a_service_listens_to_a_message_once():
    service = Service("welcome-email")
    service.on(CreateUserConfirmed)(confirmed)
    with pytest.raises(ContractError, match="welcome-email listens twice through"):
        service.on_batch(CreateUserConfirmed)(confirmed)


@pytest.mark.parametrize("name", ["crm", "welcome-email", "crm2", "a-2-b"])
def test_a_service_has_a_kebab_case_name(name):
    assert Service(name).subscriptions == []


@pytest.mark.parametrize(
    "name", ["", "Crm", "welcome_email", "2crm", "crm-", "-crm", "a--b", "a.b", "a\n"]
)
def test_a_name_that_cannot_be_part_of_a_durables_is_refused(name):
    with pytest.raises(ContractError, match="is not kebab-case"):
        Service(name)


@pytest.mark.parametrize(("up_to", "most"), [(1, 1000), (250, 1000), (256, 1024), (1000, 4000)])
def test_the_broker_may_hand_out_four_batches(up_to, most):
    service = Service("user-creation")
    service.on_batch(CreateUserRequested, up_to=up_to)(confirmed)
    assert service.subscriptions[0].max_ack_pending == most


def test_a_redrive_reaches_one_durable_inside_the_same_stream():
    subject = redrive_subject(address_of(CreateUserRequested).stream, "crm-x", "42")
    assert subject == "users.v1.redrive.crm-x.42"


@pytest.mark.parametrize(
    ("name", "kebabbed"),
    [("CreateUserConfirmed", "create-user-confirmed"), ("Sent", "sent"), ("V2Made", "v2-made")],
)
def test_kebab_case(name, kebabbed):
    assert kebab(name) == kebabbed
