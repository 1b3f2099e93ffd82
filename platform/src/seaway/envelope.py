"""A message and what is known about it: its id, its conversation, its cause.

On the wire the body is the plain Protobuf message, and the rest are NATS headers, named as in
the binary mode of CloudEvents, so that any language reads both without this library.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import NAMESPACE_DNS, UUID, uuid5

from google.protobuf.message import DecodeError, Message
from protovalidate import ValidationError, validate

from seaway.broker import Headers, Posting
from seaway.contract import address_of
from seaway.errors import Unprocessable

SEAWAY = uuid5(NAMESPACE_DNS, "seaway.dev")
"""The namespace of every derived id, in every language."""


@dataclass(frozen=True, slots=True)
class Envelope[M: Message]:
    """A message with its place in a conversation."""

    body: M
    id: str
    source: str
    """The service that said it."""
    time: datetime
    """When it was said, by the clock of its source: information, nothing is decided by it."""
    correlation_id: str
    """The conversation: the id of the message that opened it."""
    causation_id: str
    """The message that caused this one; its own id if it opened the conversation."""
    traceparent: str = ""
    """The W3C trace context, empty if there is none."""
    sequence: int = 0
    """Its place in the stream; 0 before it is stored."""
    stored_at: datetime | None = None
    """When the broker stored it, by its clock; None before."""

    def is_stale(self, now: datetime) -> bool:
        """Whether an effect of this message makes no sense any more, as its .proto says."""
        after = address_of(type(self.body)).stale_after
        if after is None or self.stored_at is None:
            return False
        return (now - self.stored_at).total_seconds() > after

    @classmethod
    def opening(cls, body: M, source: str, traceparent: str = "") -> "Envelope[M]":
        """Wrap a message that begins a conversation.

        Its key is its id, so whoever repeats the key repeats the message.
        """
        key = address_of(type(body)).key_of(body)
        return cls(body, key, source, datetime.now(UTC), key, key, traceparent)

    def reply[R: Message](self, body: R, durable: str) -> "Envelope[R]":
        """Wrap a message that this one caused while `durable` handled it.

        The id is derived, not drawn: handling the same message twice, by any process in any
        language, gives the same id, so one is kept.
        """
        address = address_of(type(body))
        name = f"{self.id}/{durable}/{address.message}/{address.key_of(body)}"
        return Envelope(
            body=body,
            id=str(uuid5(SEAWAY, name)),
            source=durable,
            time=datetime.now(UTC),
            correlation_id=self.correlation_id,
            causation_id=self.id,
            traceparent=self.traceparent,
        )

    def headers(self) -> dict[str, str]:
        """Return what travels beside the body."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.body.DESCRIPTOR.full_name,
            "ce-source": self.source,
            "ce-time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "ce-correlationid": self.correlation_id,
            "ce-causationid": self.causation_id,
            "content-type": "application/protobuf",
        }
        return headers | ({"traceparent": self.traceparent} if self.traceparent else {})

    def posting(self) -> Posting:
        """Return the message as the broker takes it. Raises ContractError for a bad key."""
        address = address_of(type(self.body))
        key = address.key_of(self.body)
        return Posting(
            stream=address.stream.name,
            subject=address.subject_for(key),
            data=self.body.SerializeToString(),
            headers=self.headers(),
            rivals=address.rivals_for(key),
        )


def decode[M: Message](
    message: type[M],
    data: bytes,
    headers: Headers,
    sequence: int = 0,
    stored_at: datetime | None = None,
) -> Envelope[M]:
    """Read a message of a known type from the wire. Unknown fields and enum values are kept.

    Raises Unprocessable: UNDECODABLE, INVALID (its .proto's rules are broken) or BAD_HEADERS.
    """
    try:
        body = message.FromString(data)
        validate(body)
    except DecodeError as error:
        raise Unprocessable("UNDECODABLE") from error
    except ValidationError as error:
        raise Unprocessable("INVALID") from error
    try:
        id = str(UUID(headers["ce-id"]))
        return Envelope(
            body=body,
            id=id,
            source=headers.get("ce-source", ""),
            time=datetime.fromisoformat(headers["ce-time"]),
            correlation_id=headers.get("ce-correlationid", id),
            causation_id=headers.get("ce-causationid", id),
            traceparent=headers.get("traceparent", ""),
            sequence=sequence,
            stored_at=stored_at,
        )
    except (KeyError, ValueError) as error:
        raise Unprocessable("BAD_HEADERS") from error
