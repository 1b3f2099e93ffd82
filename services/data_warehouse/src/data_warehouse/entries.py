"""A message as a row, and a row as the message that it was."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, cast

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from seaway import Envelope
from seaway.errors import ContractError, Unprocessable
from seaway.inbox import Handled

MOMENT = pa.timestamp("us", tz="UTC")
TIMESTAMP = Timestamp.DESCRIPTOR.full_name
FORGOTTEN = "forgotten"
"""The type of a row that says that there is to be none: with a request and a user, none of a whole
conversation; with the id and the place of a message, none of that. It has no date."""

OWN = pa.schema(
    [
        ("event_id", pa.string()),
        ("sequence", pa.int64()),
        ("type", pa.string()),
        ("occurred_at", MOMENT),
        ("stored_at", MOMENT),
        ("ingested_at", MOMENT),
        ("sha256", pa.string()),
        ("date", pa.date32()),
    ]
)
"""What every row has. `date` is the day, in UTC, on which the message was said."""
INDEXED = "event_id,sequence,type,occurred_at,stored_at,ingested_at"
"""The columns whose extremes are written into the table's log: none that is personal."""

ARROW = {
    FieldDescriptor.CPPTYPE_STRING: pa.string(),
    FieldDescriptor.CPPTYPE_ENUM: pa.string(),
    FieldDescriptor.CPPTYPE_BOOL: pa.bool_(),
    FieldDescriptor.CPPTYPE_INT32: pa.int64(),
    FieldDescriptor.CPPTYPE_INT64: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT32: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT64: pa.decimal128(20),
    FieldDescriptor.CPPTYPE_FLOAT: pa.float64(),
    FieldDescriptor.CPPTYPE_DOUBLE: pa.float64(),
    FieldDescriptor.CPPTYPE_MESSAGE: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A message that is to have a row."""

    event_id: str
    sequence: int
    type: str
    occurred_at: datetime
    """When it was said. It stays the same wherever the message is stored again."""
    stored_at: datetime
    sha256: str
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, message: Envelope[Message], handled: Handled) -> "Entry":
        """Return the row of a message; `handled` has the hash of its bytes as they came.

        Raises Unprocessable for one that no row can hold.
        """
        assert message.stored_at is not None
        said = message.time
        return cls(
            event_id=message.id,
            sequence=message.sequence,
            type=message.body.DESCRIPTOR.name,
            occurred_at=(said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC),
            stored_at=message.stored_at,
            sha256=handled.sha256.hex(),
            fields=_values(message.body),
        )

    @property
    def date(self) -> date:
        """The partition that it belongs to, also if it comes again."""
        return self.occurred_at.date()

    def row(self, now: datetime) -> dict[str, Any]:
        """Return it as the table has it."""
        return {
            "event_id": self.event_id,
            "sequence": self.sequence,
            "type": self.type,
            "occurred_at": self.occurred_at,
            "stored_at": self.stored_at,
            "ingested_at": now,
            "sha256": self.sha256,
            "date": self.date,
            **self.fields,
        }

    def tombstone(self, now: datetime) -> dict[str, Any]:
        """Return what is kept if nothing is to be: that it was handled, and no hash of it.

        Together with the ids of its user a hash would tell who guesses that the guess is right.
        """
        return tombstone(self.event_id, self.sequence, self.stored_at, now)


def tombstone(event_id: str, sequence: int, stored_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the row that says that a message was handled, and has none."""
    return {
        "event_id": event_id,
        "sequence": sequence,
        "type": FORGOTTEN,
        "stored_at": stored_at,
        "ingested_at": now,
    }


def schema_of(types: Iterable[type[Message]]) -> pa.Schema:
    """Return the columns of a table for these messages: one for each name of a field.

    Raises ContractError if two messages mean different things by one name.
    """
    columns = {field.name: field.type for field in OWN}
    for type_ in sorted(types, key=lambda t: t.DESCRIPTOR.full_name):
        for field in fields_of(type_):
            kind = _arrow(field)
            if field.name in OWN.names or columns.setdefault(field.name, kind) != kind:
                raise ContractError(f"{field.full_name}: the warehouse means other things by it")
    return pa.schema(list(columns.items()))


def event[M: Message](type_: type[M], row: Mapping[str, Any]) -> M:
    """Return the message that a row was made of."""
    body = type_()
    for field in fields_of(type_):
        value = row.get(field.name)
        if value is None:
            continue
        if field.enum_type is not None:
            setattr(body, field.name, _number(field.enum_type, value))
        elif _is_moment(field):
            getattr(body, field.name).FromDatetime(value)
        else:
            setattr(body, field.name, value)
    return body


def fields_of(message: Message | type[Message]) -> Sequence[FieldDescriptor]:
    """Return a message's fields, in the order of the .proto."""
    return cast(Sequence[FieldDescriptor], message.DESCRIPTOR.fields)


def as_arrow(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a batch that the table takes."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def _arrow(field: FieldDescriptor) -> pa.DataType:
    if _is_moment(field):
        return MOMENT
    if field.is_repeated:
        return pa.string()
    is_bytes = field.type == FieldDescriptor.TYPE_BYTES
    return pa.binary() if is_bytes else ARROW[field.cpp_type]


def _values(body: Message) -> dict[str, Any]:
    try:
        return {field.name: _value(field, body) for field in fields_of(body)}
    except (ValueError, OverflowError) as error:  # a moment after the year 9999
        raise Unprocessable("NOT_A_ROW") from error


def _value(field: FieldDescriptor, body: Message) -> Any:
    value = getattr(body, field.name)
    if field.has_presence and not body.HasField(field.name):
        return None
    if _is_moment(field):
        return value.ToDatetime(tzinfo=UTC)
    if field.is_repeated or field.message_type is not None:
        told = MessageToDict(body, preserving_proto_field_name=True)
        return json.dumps(told.get(field.name))
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return value


def _number(kind: EnumDescriptor, name: str) -> int:
    known = kind.values_by_name.get(name)
    return known.number if known else int(name)


def _is_moment(field: FieldDescriptor) -> bool:
    kind: Descriptor | None = field.message_type
    return kind is not None and kind.full_name == TIMESTAMP and not field.is_repeated
