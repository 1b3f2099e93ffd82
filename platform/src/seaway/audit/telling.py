"""What a service tells the audit: what it has handled, and which rows it keeps.

    GET /audit?stream=USERS&from=1&to=9000&since=2026-11-23T00:00:00Z

One JSON object a line. Nothing leaves the process but opaque ids, places in the stream and
hashes: the answer holds no personal data.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from google.protobuf.message import Message

from seaway.contract import address_of
from seaway.health import Tell
from seaway.service import Projection, Service

END = {"end": True}
"""The last line: an answer without it has broken off."""
FORGOTTEN = "forgotten"
"""The outcome of a message of which nothing is kept on purpose, and of a row deleted so."""
LAST = 2**63 - 1
EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a service."""

    stream: str
    first: int = 1
    """Records of messages from here …"""
    last: int = LAST
    """… to here."""
    since: datetime = EVER
    """Rows added since."""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Self:
        """Read it from a URL. Raises ValueError."""
        if "stream" not in asked:
            raise ValueError("say which stream: /audit?stream=USERS&from=1&to=9000")
        since = datetime.fromisoformat(asked["since"]) if "since" in asked else EVER
        return cls(
            stream=asked["stream"],
            first=int(asked.get("from", 1)),
            last=min(LAST, int(asked.get("to", LAST))),
            since=since.astimezone(UTC) if since.tzinfo else since.replace(tzinfo=UTC),
        )

    def parameters(self) -> dict[str, str]:
        """Return it for a URL."""
        return {
            "stream": self.stream,
            "from": str(self.first),
            "to": str(self.last),
            "since": self.since.isoformat(),
        }


def telling(service: Service) -> Tell:
    """Return what answers `GET /audit` for a service. It holds one page of rows at a time."""

    async def tell(asked: Mapping[str, str]) -> AsyncIterator[str]:
        question = Question.of(asked)
        yield json.dumps({"service": service.name})
        async for line in _records(service, question):
            yield json.dumps(line)
        for projection in service.projections:
            if address_of(projection.event).stream.name == question.stream:
                async for line in _rows(projection, question.since):
                    yield json.dumps(line)
        yield json.dumps(END)

    return tell


def fingerprint(message: Message) -> bytes:
    """Return a hash of a message's known fields; the same fields give the same hash.

    Of their encoding in the order of their numbers: what `SerializeToString(deterministic=True)`
    and its like in other languages give.
    """
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return hashlib.sha256(known.SerializeToString(deterministic=True)).digest()


async def _records(service: Service, question: Question) -> AsyncIterator[dict[str, object]]:
    inbox = service.inbox
    for subscription in service.subscriptions:
        if subscription.stream.name != question.stream:
            continue
        durable = subscription.durable
        yield {"durable": durable, "start": subscription.start, "kept": inbox.is_kept}
        async for handled in inbox.accounted(durable, question.first, question.last):
            yield {
                "durable": durable,
                "sequence": handled.sequence,
                "message_id": handled.message_id,
                "outcome": FORGOTTEN if handled.forgotten else "ack",
                "sha256": handled.sha256.hex(),
            }


async def _rows(projection: Projection, since: datetime) -> AsyncIterator[dict[str, object]]:
    address = address_of(projection.event)
    yield {"projection": address.message}
    async for row in projection.rows(since):
        yield {
            "row": address.message,
            "key": str(getattr(row.event, address.key)),
            "at": row.at.isoformat(),
            "outcome": FORGOTTEN if row.forgotten else "kept",
            "sha256": "" if row.forgotten else fingerprint(row.event).hex(),
        }
