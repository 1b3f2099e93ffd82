"""The contracts in proto/: each message keeps the rules, and none breaks what was released."""

import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
    UserAddedToCrm,
    UserAddedToWarehouse,
)
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from seaway.contract import address_of, installed_types, personal_fields, types_of

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
BIN = Path(sys.executable).parent
LOOKS_PERSONAL = (
    "email",
    "mail",
    "name",
    "phone",
    "address",
    "street",
    "city",
    "birth",
    "password",
)

MODULES = sorted({point.value for point in entry_points(group="seaway.contracts")})
FILES = [import_module(name).DESCRIPTOR for name in MODULES]
MESSAGES = [m for file in FILES for m in file.message_types_by_name.values()]
FULL_NAMES = [m.full_name for m in MESSAGES]
every_message = pytest.mark.parametrize("message", MESSAGES, ids=FULL_NAMES)

REQUEST = "7f1f2c1e-8f7f-4d2b-9a57-2f6f5e0c9f11"
USER = "0e0c9f11-8f7f-4d2b-9a57-2f6f7f1f2c1e"
AT = Timestamp(seconds=1795430400, nanos=5)


def test_every_proto_file_of_a_domain_is_installed():
    declared = {p.relative_to(PROTO).as_posix() for p in PROTO.glob("acme/*/v*/*.proto")}
    installed = {file.name for file in FILES}
    # The public API is spoken over gRPC, not over the stream.
    assert declared - installed == {"acme/gateway/v1/sign_up.proto"}
    assert installed <= declared


@every_message
def test_a_message_is_a_command_or_an_event_and_lives_in_its_files_stream(message):
    address = address_of(installed_types()[message.full_name])
    assert address.kind == ("command" if message.name.endswith("Requested") else "event")
    assert address.subject.startswith(address.stream.subjects.removesuffix(">"))
    assert address.subject.split(".")[:2] == message.full_name.split(".")[1:3]


def test_no_two_messages_share_a_subject():
    subjects = [address_of(t).subject for t in installed_types().values()]
    assert len(set(subjects)) == len(subjects) == len(MESSAGES)


def test_one_stream_is_declared_by_one_file():
    names = [address_of(next(types_of(file))).stream.name for file in FILES]
    assert len(set(names)) == len(names)


@every_message
def test_a_key_is_an_opaque_string_and_never_personal(message):
    key = address_of(installed_types()[message.full_name]).key
    assert message.fields_by_name[key].type == FieldDescriptor.TYPE_STRING
    assert key.endswith("_id")
    assert key not in personal_fields(message)


@every_message
def test_an_outcome_answers_a_command_of_the_same_file(message):
    command = address_of(installed_types()[message.full_name]).outcome_of
    if command:
        assert installed_types()[command].DESCRIPTOR.file is message.file
        assert address_of(installed_types()[command]).kind == "command"


@every_message
def test_a_field_that_looks_personal_is_marked_so(message):
    looks = {f.name for f in message.fields if set(f.name.split("_")) & set(LOOKS_PERSONAL)}
    assert looks <= personal_fields(message)


GOLDEN = [
    (
        CreateUserRequested(
            request_id=REQUEST, email="ada@example.org", display_name="Ada", locale="en"
        ),
        "0a2437663166326331652d386637662d346432622d396135372d326636663565306339663131120f"
        "616461406578616d706c652e6f72671a034164612202656e",
    ),
    (
        CreateUserConfirmed(
            request_id=REQUEST,
            user_id=USER,
            email="ada@example.org",
            display_name="Ada",
            locale="en",
            created_at=AT,
        ),
        "0a2437663166326331652d386637662d346432622d396135372d3266366635653063396631311224"
        "30653063396631312d386637662d346432622d396135372d3266366637663166326331651a0f6164"
        "61406578616d706c652e6f726722034164612a02656e32080880b090d8061005",
    ),
    (
        CreateUserRejected(
            request_id=REQUEST,
            reason=CreateUserRejected.REASON_EMAIL_TAKEN,
            email="ada@example.org",
            locale="en",
        ),
        "0a2437663166326331652d386637662d346432622d396135372d3266366635653063396631311001"
        "1a0f616461406578616d706c652e6f72672202656e",
    ),
    (
        SignUpEmailHandled(
            request_id=REQUEST,
            user_id=USER,
            kind=SignUpEmailHandled.KIND_NOTICE_SUPPRESSED,
            at=AT,
        ),
        "0a2437663166326331652d386637662d346432622d396135372d3266366635653063396631311224"
        "30653063396631312d386637662d346432622d396135372d32663666376631663263316518032208"
        "0880b090d8061005",
    ),
    (
        UserAddedToWarehouse(request_id=REQUEST, user_id=USER, at=AT),
        "0a2437663166326331652d386637662d346432622d396135372d3266366635653063396631311224"
        "30653063396631312d386637662d346432622d396135372d3266366637663166326331651a080880"
        "b090d8061005",
    ),
    (
        UserAddedToCrm(request_id=REQUEST, user_id=USER, at=AT),
        "0a2437663166326331652d386637662d346432622d396135372d3266366635653063396631311224"
        "30653063396631312d386637662d346432622d396135372d3266366637663166326331651a080880"
        "b090d8061005",
    ),
]


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda v: type(v).__name__)
def test_the_bytes_on_the_wire_are_these(message, golden):
    assert message.SerializeToString(deterministic=True).hex() == golden
    assert type(message).FromString(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda v: type(v).__name__)
def test_the_pinned_bytes_show_every_field(message, golden):
    assert {f.name for f, _ in message.ListFields()} == {f.name for f in message.DESCRIPTOR.fields}


def test_the_bytes_of_every_message_are_pinned():
    assert {type(message).DESCRIPTOR.full_name for message, _ in GOLDEN} == set(FULL_NAMES)


@pytest.fixture
def contracts(tmp_path):
    """A copy of the .proto files, and what tells whether it breaks what was released."""
    folder = tmp_path / "proto"
    shutil.copytree(PROTO, folder, ignore=shutil.ignore_patterns("python", "__pycache__"))
    return Contracts(folder)


class Contracts:
    def __init__(self, folder):
        self.folder = folder
        self.users = folder / "acme/users/v1/users.proto"

    def breaking(self):
        """Generate everything from the copy, and ask buf. Returns its exit code and its words."""
        subprocess.run([sys.executable, self.folder / "generate.py"], check=True)
        buf = [BIN / "buf", "breaking", "contracts.binpb", "--against", "released.binpb"]
        only = ["--path", "acme", "--path", "seaway"]
        answer = subprocess.run(
            [*buf, *only], cwd=self.folder, capture_output=True, text=True, check=False
        )
        return answer.returncode, answer.stdout + answer.stderr


def test_a_contract_that_has_not_changed_breaks_nothing(contracts):
    assert contracts.breaking() == (0, "")


def test_a_field_may_be_added(contracts):
    added = "  string locale = 5;\n  string nickname = 77;\n"
    spoil(contracts.users, "  string locale = 5;\n", added)
    assert contracts.breaking() == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  string locale = 5;\n", "", 'field "5" with name "locale"'),
        ("string locale = 5;", "string locale = 9;", 'field "5" with name "locale"'),
        ("string locale = 5;", "bytes locale = 5;", "changed type"),
        ("string locale = 5;", "string tongue = 5;", "changed name"),
        ("REASON_EMAIL_TAKEN = 1", "REASON_EMAIL_TAKEN = 2", 'enum value "1" on enum "Reason"'),
    ],
)
def test_a_change_that_breaks_what_was_released_is_refused(contracts, old, new, complaint):
    spoil(contracts.users, old, new)
    code, words = contracts.breaking()
    assert code != 0
    assert complaint in words


def spoil(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
