"""Messages as people read them: decoded if their contract is installed, masked unless asked."""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from seaway.broker import Stored
from seaway.contract import installed_types, masked
from seaway.envelope import Envelope, decode
from seaway.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class Said:
    """A stored message, and what could be understood of it."""

    stored: Stored
    envelope: Envelope[Message] | None
    wrong: str = ""
    """Why it was not understood; empty if it was."""

    @property
    def type(self) -> str:
        """The full name of its type, as its headers say."""
        return self.stored.headers.get("ce-type", "")

    @property
    def short_type(self) -> str:
        """The name of its type without the package."""
        return self.type.rpartition(".")[2] or "?"

    @property
    def source(self) -> str:
        """Who said it: a service or a durable."""
        return self.stored.headers.get("ce-source", "?")

    def fields(self, *, show_personal: bool) -> dict[str, Any]:
        """Return the fields that are set, personal ones as `***` unless they are to be shown."""
        if self.envelope is None:
            return {}
        body = self.envelope.body
        return MessageToDict(
            body if show_personal else masked(body), preserving_proto_field_name=True
        )

    def to_json(self, *, show_personal: bool, **more: object) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self._as_object(show_personal=show_personal) | more, ensure_ascii=False)

    def _as_object(self, *, show_personal: bool) -> dict[str, object]:
        headers = self.stored.headers
        known: dict[str, object] = {
            "sequence": self.stored.sequence,
            "subject": self.stored.subject,
            "at": self.stored.at.isoformat(),
            "type": self.type,
            "source": self.source,
            "id": headers.get("ce-id", ""),
            "correlation_id": headers.get("ce-correlationid", ""),
            "causation_id": headers.get("ce-causationid", ""),
        }
        if self.envelope is None:
            return known | {"undecodable": self.wrong, "bytes": len(self.stored.data)}
        return known | {"body": self.fields(show_personal=show_personal)}


def understood(stored: Stored) -> Said:
    """Decode a message as far as that is possible."""
    type_ = installed_types().get(stored.headers.get("ce-type", ""))
    if type_ is None:
        return Said(stored, None, "UNKNOWN_TYPE")
    try:
        return Said(stored, decode(type_, stored.data, stored.headers))
    except Unprocessable as error:
        return Said(stored, None, error.reason)
