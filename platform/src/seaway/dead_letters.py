"""Messages that were set aside for a person: what is kept of them, and the way back.

A dead letter is the original message, byte for byte, with a few headers that say who gave up,
when and why. It is stored before the broker is told to forget the delivery. There is at most
one for each durable and message, so a crash in between stores no second one
(docs/decisions/0008).
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, Self
from uuid import UUID

from seaway.broker import (
    HEADER_NAME,
    MAX_STORED_BYTES,
    Broker,
    Conflict,
    Delivery,
    Headers,
    Posting,
    Receipt,
    Stored,
)
from seaway.contract import Stream, address_of, installed_types
from seaway.errors import ContractError, KeyReused
from seaway.service import Subscription, redrive_subject

MAX_LETTER_BYTES = MAX_STORED_BYTES + 32 * 1024
"""The largest message that a stream takes, and more than our headers can be."""

DEAD = Stream(
    name="DEAD",
    subjects="dead.>",
    max_age=30 * 86400.0,
    once_per_key=True,
    duplicate_window=None,
    max_bytes=1 << 30,
    max_message_bytes=MAX_LETTER_BYTES,
)
"""Where dead letters are kept, as long as what they come from."""

DISCARDED = "discarded"
"""How the subject of a note ends that a dead letter was thrown away."""
OURS = "seaway-"
"""How the headers begin that are not the original's."""
ID = re.compile(r"[A-Za-z0-9-]{1,64}")
"""What may end a subject: the broker would take a token that its own rules forbid in the next."""


class Scanned(Protocol):
    """What it takes to read dead letters."""

    def scan(self, stream: str, subjects: str, after: int = 0) -> AsyncIterator[Stored]:
        """Yield what a stream keeps, in order. Raises BrokerUnavailable."""


class Shelf(Scanned, Protocol):
    """What it takes to look after dead letters; a Broker offers it."""

    async def publish(self, postings: Sequence[Posting]) -> Sequence[Receipt | Conflict]:
        """Store messages. Raises BrokerUnavailable."""

    async def remove(self, stream: str, sequence: int) -> bool:
        """Take a message out of a stream; return whether it was there."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    sequence: int
    """Its place in the stream of dead letters: its number, for people."""
    durable: str
    """Who gave up."""
    message_id: str
    reason: str
    """A fixed code."""
    attempts: int
    first_at: datetime
    """When the message was stored."""
    last_at: datetime
    """When it was given up."""
    version: str
    """Of the service that gave up."""
    original_subject: str
    data: bytes
    """The original's body, as it came."""
    headers: Headers
    """The original's headers."""

    @property
    def message(self) -> str:
        """The full name of its type, as it says itself; empty if it says nothing."""
        return self.headers.get("ce-type", "")

    @classmethod
    def of(cls, stored: Stored) -> Self:
        """Read a message of the stream of dead letters, also one that somebody else put there."""
        ours = {k: v for k, v in stored.headers.items() if k.startswith(OURS)}
        attempts = ours.get("seaway-attempts", "")
        return cls(
            sequence=stored.sequence,
            durable=ours.get("seaway-durable", stored.subject.split(".")[1]),
            message_id=said_id(stored.headers) or stored.subject.rpartition(".")[2],
            reason=ours.get("seaway-reason", "NOT_OURS"),
            attempts=int(attempts) if attempts.isdecimal() else 0,
            first_at=moment(ours.get("seaway-first-at", ""), stored.at),
            last_at=moment(ours.get("seaway-last-at", ""), stored.at),
            version=ours.get("seaway-version", ""),
            original_subject=ours.get("seaway-original-subject", ""),
            data=stored.data,
            headers={k: v for k, v in stored.headers.items() if not k.startswith(OURS)},
        )


@dataclass(frozen=True, slots=True)
class Discarded:
    """What is left of a dead letter that a person has thrown away."""

    durable: str
    headers: Headers
    """The original's headers."""
    sha256: bytes
    """Of the original's body."""


def letter_for(
    delivery: Delivery, subscription: Subscription, reason: str, version: str, name: str = ""
) -> Posting:
    """Return the dead letter of a delivery, ready to be stored under the message's id or a name.

    It can always be stored, if the message was: what nobody could write is left out of its
    headers, and the longest of those that were no text, of which a reader makes three bytes of
    one.
    """
    ours = {
        "seaway-durable": subscription.durable,
        "seaway-reason": reason,
        "seaway-attempts": str(delivery.attempt),
        "seaway-first-at": delivery.at.isoformat(),
        "seaway-last-at": datetime.now(UTC).isoformat(),
        "seaway-version": version,
        "seaway-original-subject": delivery.subject,
    }
    letter = Posting(
        stream=DEAD.name,
        subject=letter_subject(subscription.durable, name or id_of(delivery)),
        data=delivery.data,
        headers=ours,
        most_bytes=MAX_LETTER_BYTES,
    )
    theirs = fitting(original(delivery.headers), letter.most_bytes - letter.size)
    return replace(letter, headers={**theirs, **ours})


async def set_aside(
    broker: Broker, delivery: Delivery, subscription: Subscription, reason: str, version: str
) -> None:
    """Store a dead letter, if there is not one already of this message.

    A message that was redriven has a letter of its own, named after its new place: the one that
    it comes from may be there still, and is about to be removed. So has a second message that
    says to be one which is set aside already. Raises BrokerUnavailable and StreamFull.
    """
    redriven = redrive_subject(subscription.stream, subscription.durable, "")
    if not delivery.subject.startswith(redriven):
        letter = letter_for(delivery, subscription, reason, version)
        if isinstance((await broker.publish([letter]))[0], Receipt):
            return
    name = name_by_place(delivery.sequence)
    await broker.publish([letter_for(delivery, subscription, reason, version, name)])


def letter_subject(durable: str, name: str) -> str:
    """Return where a dead letter is stored."""
    return f"dead.{durable}.{name}"


def name_by_place(sequence: int) -> str:
    """Return the name of a letter that is not named after its message's id."""
    return f"sequence-{sequence}"


def id_of(delivery: Delivery) -> str:
    """Return the id of the message behind a delivery, or its place if it says none that fits."""
    return said_id(delivery.headers) or name_by_place(delivery.sequence)


def said_id(headers: Headers) -> str:
    """Return the id that a message says, spelled as everywhere else; empty if none fits."""
    id = headers.get("ce-id", "")
    try:
        return str(UUID(id))
    except ValueError:
        return id if ID.fullmatch(id) else ""


def moment(text: str, otherwise: datetime) -> datetime:
    """Read a time of day, with its zone."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return otherwise


def original(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that can be written, without ours and those that the broker acts upon."""
    return {
        name: value
        for name, value in headers.items()
        if HEADER_NAME.fullmatch(name) and not name.startswith((OURS, "Nats-"))
    }


def fitting(headers: Headers, most_bytes: int) -> dict[str, str]:
    """Return as many headers as fit, which is all of them but for somebody's very long ones."""
    sizes = {name: len(f"{name}{value}".encode()) + 4 for name, value in headers.items()}
    left_out = sorted(sizes, key=lambda name: sizes[name])
    while left_out and sizes[left_out[0]] <= most_bytes:
        most_bytes -= sizes[left_out.pop(0)]
    return {name: value for name, value in headers.items() if name not in left_out}


async def letters(shelf: Scanned, durable: str = "", reason: str = "") -> AsyncIterator[Letter]:
    """Yield the dead letters, oldest first, of all durables or one. Raises BrokerUnavailable."""
    subjects = letter_subject(durable or "*", "*")
    async for stored in shelf.scan(DEAD.name, subjects):
        letter = Letter.of(stored)
        if not reason or letter.reason == reason:
            yield letter


async def redrive(shelf: Shelf, letter: Letter) -> int:
    """Send a message back to the one durable that gave up; return its new place in the stream.

    It keeps its id: if it has been handled meanwhile, nothing happens again. It is stored there
    before it is removed here, and doing it twice is doing it once, so it may be cut off anywhere.
    Raises ContractError if no installed contract knows its stream, KeyReused if another message
    was redriven under its number, TooLarge and BrokerUnavailable: then the letter stays.
    """
    stream = stream_with(letter.original_subject)
    posting = Posting(
        stream=stream.name,
        subject=redrive_subject(stream, letter.durable, str(letter.sequence)),
        data=letter.data,
        headers=letter.headers,
        most_bytes=MAX_STORED_BYTES,
    )
    match (await shelf.publish([posting]))[0]:
        case Receipt(sequence):
            await shelf.remove(DEAD.name, letter.sequence)
            return sequence
        case Conflict():
            raise KeyReused(f"{posting.subject} holds another message")


async def discard(shelf: Shelf, letter: Letter) -> bool:
    """Throw a dead letter away; return whether it was still there. Raises BrokerUnavailable.

    A note of it stays, without the body: so the audit knows that a person wanted it so.
    """
    ours = {
        "seaway-durable": letter.durable,
        "seaway-sha256": hashlib.sha256(letter.data).hexdigest(),
        "seaway-discarded-at": datetime.now(UTC).isoformat(),
    }
    subject = f"{letter_subject(letter.durable, str(letter.sequence))}.{DISCARDED}"
    note = Posting(
        DEAD.name, subject, b"", {**letter.headers, **ours}, most_bytes=MAX_LETTER_BYTES
    )
    (answer,) = await shelf.publish([note])
    was_there = await shelf.remove(DEAD.name, letter.sequence)
    if not was_there and isinstance(answer, Receipt) and not answer.repeated:
        await shelf.remove(DEAD.name, answer.sequence)  # somebody has redriven it meanwhile
    return was_there


async def discarded(shelf: Scanned) -> AsyncIterator[Discarded]:
    """Yield what people have thrown away. Raises BrokerUnavailable."""
    async for stored in shelf.scan(DEAD.name, f"dead.*.*.{DISCARDED}"):
        headers = {k: v for k, v in stored.headers.items() if not k.startswith(OURS)}
        sha256 = bytes.fromhex(stored.headers.get("seaway-sha256", ""))
        yield Discarded(stored.headers.get("seaway-durable", ""), headers, sha256)


def stream_with(subject: str) -> Stream:
    """Return the installed contracts' stream that holds a subject. Raises ContractError."""
    for type_ in installed_types().values():
        stream = address_of(type_).stream
        if subject.startswith(stream.subjects.removesuffix(">")):
            return stream
    raise ContractError(f"no installed contract declares a stream with {subject}")
