"""Messages of any type, made from its descriptor and its rules alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from seaway.contract import address_of
from seaway.errors import SettingsError

UNKNOWN_FIELD = b"\xfa\xff\x7f\x05later"
"""What a newer publisher may add: field 262143, which no program of today knows."""


def body_for(message: type[Message], key: str, given: Mapping[str, str]) -> Message:
    """Return a message with this key that its .proto's rules accept.

    Of the other fields, strings are the key or else empty, and times are now; what is given wins,
    with {key} replaced. Raises SettingsError that names the fields for which that will not do.
    """
    names = {field.name for field in message.DESCRIPTOR.fields}
    if unknown := given.keys() - names:
        raise SettingsError(f"{message.DESCRIPTOR.full_name} has no {', '.join(sorted(unknown))}")
    body = message()
    for field in message.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            setattr(body, field.name, given.get(field.name, "{key}").replace("{key}", key))
        elif field.message_type is Timestamp.DESCRIPTOR and not field.is_repeated:
            getattr(body, field.name).FromDatetime(datetime.now(UTC))
    setattr(body, address_of(message).key, key)
    for name in refused(body) - given.keys():
        body.ClearField(name)
    if wrong := refused(body):
        named = " ".join(f"--field {name}=…" for name in sorted(wrong))
        raise SettingsError(f"no message can be made up, its rules are broken: give {named}")
    return body


def refused(body: Message) -> set[str]:
    """Return the fields whose rules are broken."""
    violations: list[Any] = Validator().collect_violations(body)
    return {element.field_name for v in violations for element in v.proto.field.elements[:1]}
