"""What the .proto files promise: where a message lives, and what of it is personal."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Literal

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from seaway.broker import MAX_STORED_BYTES
from seaway.errors import ContractError
from seaway.messaging.v1 import options_pb2

KEY = re.compile(r"[a-z0-9-]{16,64}")
"""What a key looks like. The broker itself would accept `a.b`, `*` and `>`."""

type Kind = Literal["command", "event"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream stream as a .proto file declares it. Durations in seconds, None: no limit."""

    name: str
    subjects: str
    max_age: float | None
    once_per_key: bool
    duplicate_window: float | None
    max_bytes: int | None
    max_message_bytes: int = MAX_STORED_BYTES
    """Headers and body together."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the messages of one type live."""

    message: str
    """The full name of the type, such as `acme.users.v1.CreateUserConfirmed`."""
    kind: Kind
    subject: str
    """The subject without the key."""
    key: str
    """The field whose value ends the subject."""
    stream: Stream
    stale_after: float | None
    """Seconds after which an effect of the message makes no sense. None: it never grows stale."""
    outcome_of: str
    """The full name of the command that this answers; empty if it answers none."""
    rivals: tuple[str, ...]
    """The subjects of the other outcomes of that command. The broker stores only one of them."""

    @property
    def every_key(self) -> str:
        """The subject filter that matches all messages of this type."""
        return f"{self.subject}.*"

    def key_of(self, body: Message) -> str:
        """Return the key of a message.

        Raises ContractError if it is not 16 to 64 characters of a-z, 0-9 and -.
        """
        key = str(getattr(body, self.key))
        if not KEY.fullmatch(key):
            raise ContractError(
                f"{self.message}.{self.key} is {key!r}: a key is {KEY.pattern}, an opaque id"
            )
        return key

    def subject_for(self, key: str) -> str:
        """Return the subject of the one message of this type that has this key."""
        return f"{self.subject}.{key}"

    def rivals_for(self, key: str) -> tuple[str, ...]:
        """Return the subjects that exclude the message of this type that has this key."""
        return tuple(f"{rival}.{key}" for rival in self.rivals)


def address_of(message: type[Message]) -> Address:
    """Return where messages of this type live, as their .proto says.

    Raises ContractError if the .proto says nothing, or something that cannot hold.
    """
    return _address(message.DESCRIPTOR)


def stream_of(file: FileDescriptor) -> Stream:
    """Return the stream that a .proto file declares. Raises ContractError if it declares none."""
    options = file.GetOptions()
    if not options.HasExtension(options_pb2.stream):
        raise ContractError(f"{file.name} declares no (seaway.messaging.v1.stream)")
    stream = options.Extensions[options_pb2.stream]
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", stream.name):
        raise ContractError(f"{file.name}: stream {stream.name!r} is not UPPER_CASE")
    if not stream.subjects.endswith(".>"):
        raise ContractError(f"{file.name}: subjects {stream.subjects!r} do not end in .>")
    return Stream(
        name=stream.name,
        subjects=stream.subjects,
        max_age=_seconds(stream, "max_age"),
        once_per_key=stream.once_per_key,
        duplicate_window=_seconds(stream, "duplicate_window"),
        max_bytes=stream.max_bytes or None,
    )


def types_of(file: FileDescriptor) -> Iterator[type[Message]]:
    """Yield the message types of a file that live in its stream, in the order of the file."""
    for descriptor in file.message_types_by_name.values():
        if _kind(descriptor) is not None:
            yield message_factory.GetMessageClass(descriptor)


@cache
def installed_types() -> dict[str, type[Message]]:
    """Return every message type of the installed contracts by its full name.

    A distribution offers its contracts by the entry-point group `seaway.contracts`; each names
    a generated module.
    """
    modules = sorted({point.value for point in entry_points(group="seaway.contracts")})
    files = [import_module(name).DESCRIPTOR for name in modules]
    return {t.DESCRIPTOR.full_name: t for file in files for t in types_of(file)}


@cache
def personal_fields(message: Descriptor) -> frozenset[str]:
    """Return the names of a type's fields that hold personal data."""
    return frozenset(field.name for field in message.fields if _is_personal(field))


def masked[M: Message](message: M) -> M:
    """Return a copy in which every personal field that is set reads `***`."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in personal_fields(message.DESCRIPTOR):
        if getattr(copy, name):
            setattr(copy, name, "***")
    return copy


@cache
def _address(descriptor: Descriptor) -> Address:
    kind = _kind(descriptor)
    if kind is None:
        raise ContractError(f"{descriptor.full_name} is neither a command nor an event")
    options = _options(descriptor, kind)
    stream = stream_of(descriptor.file)
    if not options.subject.startswith(stream.subjects.removesuffix(">")):
        raise ContractError(
            f"{descriptor.full_name}: {options.subject} lies outside {stream.subjects}"
        )
    _check_key(descriptor, options.key)
    return Address(
        message=descriptor.full_name,
        kind=kind,
        subject=options.subject,
        key=options.key,
        stream=stream,
        stale_after=_seconds(options, "stale_after"),
        outcome_of=options.outcome_of,
        rivals=_rivals(descriptor, options.outcome_of),
    )


def _kind(descriptor: Descriptor) -> Kind | None:
    options = descriptor.GetOptions()
    if options.HasExtension(options_pb2.command):
        return "command"
    return "event" if options.HasExtension(options_pb2.event) else None


def _options(descriptor: Descriptor, kind: Kind) -> options_pb2.Address:
    extension = options_pb2.command if kind == "command" else options_pb2.event
    return descriptor.GetOptions().Extensions[extension]


def _check_key(descriptor: Descriptor, key: str) -> None:
    field = descriptor.fields_by_name.get(key)
    if field is None or field.type != FieldDescriptor.TYPE_STRING:
        raise ContractError(f"{descriptor.full_name}: key {key!r} is not a string field of it")
    if _is_personal(field):
        raise ContractError(f"{descriptor.full_name}: key {key!r} is personal data")


def _rivals(descriptor: Descriptor, command: str) -> tuple[str, ...]:
    others = [d for d in descriptor.file.message_types_by_name.values() if d is not descriptor]
    events = [_options(d, "event") for d in others if _kind(d) == "event"]
    rivals = tuple(event.subject for event in events if command and event.outcome_of == command)
    if len(rivals) > 1:
        # The broker can be asked to look at one other subject before it stores a message.
        raise ContractError(f"{command} has more than two outcomes: {descriptor.full_name}, …")
    return rivals


def _is_personal(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.personal])


def _seconds(message: Message, field: str) -> float | None:
    if not message.HasField(field):
        return None
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)
