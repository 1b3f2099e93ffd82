"""What a .proto file may say, and what is made of it."""

import pytest
from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from seaway.contract import (
    address_of,
    installed_types,
    masked,
    personal_fields,
    stream_of,
    types_of,
)
from seaway.errors import ContractError
from seaway.messaging.v1 import options_pb2

REQUEST = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
STRING = FieldDescriptorProto.TYPE_STRING


def a_file():
    """A .proto file that keeps every rule; a test breaks one of them."""
    file = FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    file.options.Extensions[options_pb2.stream].name = "THINGS"
    file.options.Extensions[options_pb2.stream].subjects = "things.v1.>"
    message = file.message_type.add(name="ThingWanted")
    message.options.Extensions[options_pb2.command].subject = "things.v1.wanted"
    message.options.Extensions[options_pb2.command].key = "id"
    message.field.add(name="id", number=1, type=STRING, label=1)
    return file


def load(file):
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)


def the_type(file):
    return GetMessageClass(load(file).message_types_by_name["ThingWanted"])


def stream_option(file):
    return file.options.Extensions[options_pb2.stream]


def command_option(file):
    return file.message_type[0].options.Extensions[options_pb2.command]


def test_a_command_lives_where_its_proto_says():
    address = address_of(CreateUserRequested)
    assert address.message == "acme.users.v1.CreateUserRequested"
    assert (address.kind, address.subject) == ("command", "users.v1.create-requested")
    assert (address.key, address.every_key) == ("request_id", "users.v1.create-requested.*")
    assert address.subject_for(REQUEST) == f"users.v1.create-requested.{REQUEST}"
    assert (address.outcome_of, address.rivals, address.rivals_for(REQUEST)) == ("", (), ())
    assert address.stale_after is None


def test_the_users_stream_keeps_one_message_per_subject_for_thirty_days():
    stream = address_of(CreateUserRequested).stream
    assert (stream.name, stream.subjects) == ("USERS", "users.v1.>")
    assert (stream.once_per_key, stream.max_age) == (True, 30 * 24 * 3600)
    assert (stream.max_bytes, stream.duplicate_window) == (4 * 2**30, None)


def test_the_two_outcomes_of_a_command_exclude_each_other():
    confirmed, rejected = address_of(CreateUserConfirmed), address_of(CreateUserRejected)
    assert confirmed.kind == "event"
    assert confirmed.outcome_of == rejected.outcome_of == "acme.users.v1.CreateUserRequested"
    assert confirmed.rivals_for(REQUEST) == (f"users.v1.create-rejected.{REQUEST}",)
    assert rejected.rivals_for(REQUEST) == (f"users.v1.create-confirmed.{REQUEST}",)
    assert address_of(SignUpEmailHandled).rivals == ()


@pytest.mark.parametrize("key", [REQUEST, "a" * 16, "0-9-" * 16])
def test_an_opaque_id_is_a_key(key):
    assert address_of(CreateUserRequested).key_of(CreateUserRequested(request_id=key)) == key


@pytest.mark.parametrize(
    "key",
    ["", "a" * 15, "a" * 65, "A" * 16, "*" * 16, "a.b" * 8, ">" * 16, "ä" * 16, "a" * 16 + "\n"],
)
def test_what_the_broker_could_misread_is_no_key(key):
    with pytest.raises(ContractError, match="an opaque id"):
        address_of(CreateUserRequested).key_of(CreateUserRequested(request_id=key))


def test_a_file_that_keeps_the_rules_has_an_address():
    file = a_file()
    stream_option(file).max_age.FromMilliseconds(1500)
    stream_option(file).duplicate_window.FromSeconds(120)
    command_option(file).stale_after.FromSeconds(60)
    address = address_of(the_type(file))
    assert address.subject == "things.v1.wanted"
    assert (address.stream.max_age, address.stream.duplicate_window) == (1.5, 120)
    assert (address.stream.once_per_key, address.stream.max_bytes) == (False, None)
    assert address.stale_after == 60


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: f.options.ClearExtension(options_pb2.stream), "declares no"),
        (lambda f: setattr(stream_option(f), "name", "things"), "is not UPPER_CASE"),
        (lambda f: setattr(stream_option(f), "name", "THE.THINGS"), "is not UPPER_CASE"),
        (lambda f: setattr(stream_option(f), "subjects", "things.v1.*"), "do not end in"),
        (
            lambda f: f.message_type[0].options.ClearExtension(options_pb2.command),
            "t.ThingWanted is neither a command nor an event",
        ),
        (lambda f: setattr(command_option(f), "subject", "users.v1.wanted"), "lies outside"),
        (lambda f: setattr(command_option(f), "key", "name"), "'name' is not a string field"),
        (lambda f: setattr(f.message_type[0].field[0], "type", 5), "'id' is not a string field"),
        (
            lambda f: (
                f.message_type[0]
                .field[0]
                .options.Extensions.__setitem__(options_pb2.personal, True)
            ),
            "'id' is personal data",
        ),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_a_sentence(spoil, complaint):
    file = a_file()
    spoil(file)
    with pytest.raises(ContractError, match=complaint):
        address_of(the_type(file))


def with_outcomes(*names):
    file = a_file()
    for name in names:
        event = file.message_type.add(name=f"Thing{name}")
        event.field.add(name="id", number=1, type=STRING, label=1)
        option = event.options.Extensions[options_pb2.event]
        option.subject, option.key = f"things.v1.{name.lower()}", "id"
        option.outcome_of = "t.ThingWanted"
    return [address_of(message) for message in types_of(load(file))]


def test_two_outcomes_of_a_command_are_rivals():
    _, granted, refused = with_outcomes("Granted", "Refused")
    assert (granted.rivals, refused.rivals) == (("things.v1.refused",), ("things.v1.granted",))


def test_a_command_with_three_outcomes_is_refused_since_the_broker_can_compare_only_two():
    with pytest.raises(ContractError, match=r"t\.ThingWanted has more than two outcomes"):
        with_outcomes("Granted", "Refused", "Postponed")


def test_a_message_without_an_option_is_part_of_other_messages_and_lives_nowhere():
    file = a_file()
    file.message_type.add(name="Detail")
    declared = load(file)
    assert [t.DESCRIPTOR.name for t in types_of(declared)] == ["ThingWanted"]
    assert stream_of(declared).name == "THINGS"


def test_the_installed_contracts_are_found_by_their_entry_point():
    assert installed_types()["acme.users.v1.CreateUserRequested"] is CreateUserRequested
    assert next(iter(installed_types())) == "acme.users.v1.CreateUserRequested"


def test_personal_fields_are_masked_in_a_copy():
    request = CreateUserRequested(
        request_id=REQUEST, email="ada@example.org", display_name="Ada", locale="en"
    )
    shown = masked(request)
    assert (shown.email, shown.display_name) == ("***", "***")
    assert (shown.request_id, shown.locale) == (REQUEST, "en")
    assert request.email == "ada@example.org"
    assert personal_fields(CreateUserRequested.DESCRIPTOR) == {"email", "display_name"}


def test_masking_tells_an_empty_field_from_a_hidden_one():
    assert masked(CreateUserRequested(display_name="Ada")).email == ""
