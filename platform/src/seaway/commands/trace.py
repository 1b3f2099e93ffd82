"""`seaway trace`: one conversation, and who has not acted on it yet."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from seaway.broker import Broker, Stored
from seaway.commands.conversation import Said, understood
from seaway.commands.reach import reached
from seaway.contract import KEY, Stream, address_of, installed_types
from seaway.dead_letters import DEAD, Letter, Scanned, letter_subject, name_by_place, said_id
from seaway.service import redrive_subject
from seaway.topology.backbone import Durable
from seaway.topology.rules import covers, filters

USAGE = 2
UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A durable that has not acted on a message, as far as the broker knows."""

    durable: str
    said: Said
    delivered: bool
    """It has been given it, and has neither acked it nor said anything."""
    letter: Letter | None = None
    """It has given up, and this is its dead letter."""

    def sentence(self) -> str:
        """Say it."""
        state = "has it in hand, or will be given it again" if self.delivered else "waits"
        if self.letter is not None:
            state = f"was set aside, {self.letter.reason}: dead letter {self.letter.sequence}"
        return f"{self.durable}: {self.said.short_type} #{self.said.stored.sequence} {state}"


def trace(
    request_id: Annotated[str, typer.Argument(help="The id that the client chose.")],
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Show a conversation, and who has not acted on it yet.

    A line for each message: who said it, what caused it, after how long. Then every durable
    that has not acted on one of them yet, or has given up on it. Exits with 3 if nothing is
    stored under this id. To look at all conversations at once, there is `seaway audit`.
    Shows no personal data.
    """
    if not KEY.fullmatch(request_id):
        print(f"not an id: {request_id!r} is not {KEY.pattern}", file=sys.stderr)
        raise typer.Exit(USAGE)
    conversation, outstanding = asyncio.run(_look(request_id))
    if not conversation:
        print(f"nothing is stored under {request_id}", file=sys.stderr)
        raise typer.Exit(UNKNOWN)
    lines = _as_json if as_json else _as_text
    print("\n".join(lines(conversation, outstanding)))


async def _look(key: str) -> tuple[list[Said], list[Outstanding]]:
    async with reached() as broker:
        addresses = [address_of(type_) for type_ in installed_types().values()]
        existing = (await broker.streams()).keys()
        addresses = [a for a in addresses if a.stream.name in existing]
        subjects = [(a.stream.name, a.subject_for(key)) for a in addresses]
        conversation = await read_conversation(broker, subjects)
        durables: dict[str, Durable] = {}
        for stream in {a.stream.name: a.stream for a in addresses}.values():
            durables |= await broker.durables(stream.name)
            conversation += await sent_back(broker, conversation, stream)
        left = await given_up(broker, conversation, durables) if DEAD.name in existing else []
        return conversation, [*left, *not_acted(conversation, durables)]


async def sent_back(shelf: Scanned, conversation: Sequence[Said], stream: Stream) -> list[Said]:
    """Return those messages of the conversation that a person has redriven."""
    ids = {said.stored.headers.get("ce-id") for said in conversation}
    redriven = shelf.scan(stream.name, redrive_subject(stream, "*", "*"))
    return [understood(s) async for s in redriven if s.headers.get("ce-id") in ids]


async def given_up(
    broker: Broker, conversation: Sequence[Said], durables: Mapping[str, Durable]
) -> list[Outstanding]:
    """Return which durables have given up which message, and have not been told to try again."""
    found = []
    for said, name in heard(conversation, durables):
        if durables[name].has_settled(said.stored.sequence):
            for letter_name in names_of(said.stored):
                stored = await broker.read(DEAD.name, letter_subject(name, letter_name))
                letter = Letter.of(stored) if stored else None
                if letter and letter.original_subject == said.stored.subject:
                    found.append(Outstanding(name, said, delivered=True, letter=letter))
    return found


def names_of(stored: Stored) -> Sequence[str]:
    """Return under which names a dead letter of a message may be stored."""
    return list(filter(None, [said_id(stored.headers), name_by_place(stored.sequence)]))


def heard(
    conversation: Sequence[Said], durables: Mapping[str, Durable]
) -> Iterator[tuple[Said, str]]:
    """Yield each message with each durable that listens to it."""
    for said in conversation:
        for name, durable in durables.items():
            if any(covers(pattern, said.stored.subject) for pattern in filters(durable.config)):
                yield said, name


async def read_conversation(broker: Broker, subjects: Sequence[tuple[str, str]]) -> list[Said]:
    """Return what is stored on these (stream, subject)s, in the order it was stored."""
    found = await asyncio.gather(*(broker.read(stream, subject) for stream, subject in subjects))
    stored = sorted((s for s in found if s is not None), key=lambda s: (s.at, s.sequence))
    return [understood(s) for s in stored]


def not_acted(conversation: Sequence[Said], durables: Mapping[str, Durable]) -> list[Outstanding]:
    """Return which durables have not acted on which message.

    A reply by a durable is proof that it has acted, though the broker may not know of the ack.
    """
    replied = {(said.source, said.stored.headers.get("ce-causationid")) for said in conversation}
    return [
        Outstanding(name, said, delivered=durables[name].delivered >= said.stored.sequence)
        for said, name in heard(conversation, durables)
        if not durables[name].has_settled(said.stored.sequence)
        and (name, said.stored.headers.get("ce-id")) not in replied
    ]


def _as_text(conversation: Sequence[Said], outstanding: Sequence[Outstanding]) -> list[str]:
    # A message that was sent back is itself once more: the first is the one that caused others.
    by_id = {said.stored.headers.get("ce-id"): said for said in reversed(conversation)}
    width = max(len(said.short_type) for said in conversation)
    lines = [
        f"{_when(said)}  {said.short_type:<{width}}  {_how(said, by_id)}" for said in conversation
    ]
    if not outstanding:
        return [*lines, "everybody who listens has acted"]
    return [*lines, "not acted yet:", *(f"  {o.sentence()}" for o in outstanding)]


def _when(said: Said) -> str:
    return f"{said.stored.at.astimezone():%H:%M:%S.%f}"[:-3] + f"  #{said.stored.sequence}"


def _how(said: Said, by_id: Mapping[str | None, Said]) -> str:
    """Say on which subject, by whom, caused by what and after how long."""
    where = f"{said.stored.subject}  by {said.source}"
    wrong = f"  ({said.wrong})" if said.wrong else ""
    causation_id = said.stored.headers.get("ce-causationid")
    if by_id[said.stored.headers.get("ce-id")] is not said:
        return f"{where}, sent back by a person{wrong}"
    if causation_id == said.stored.headers.get("ce-id"):
        return f"{where}, opening the conversation{wrong}"
    cause = by_id.get(causation_id)
    if cause is None:
        return f"{where}, caused by {causation_id or 'something unknown'}{wrong}"
    return f"{where}, caused by {cause.short_type}, after {_after(said, cause)}{wrong}"


def _after(said: Said, cause: Said) -> str:
    seconds = (said.stored.at - cause.stored.at).total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _as_json(conversation: Sequence[Said], outstanding: Sequence[Outstanding]) -> list[str]:
    lines = [said.to_json(show_personal=False) for said in conversation]
    waiting = [
        {"not_acted": o.durable, "sequence": o.said.stored.sequence, "delivered": o.delivered}
        | ({"reason": o.letter.reason, "dead_letter": o.letter.sequence} if o.letter else {})
        for o in outstanding
    ]
    return [*lines, *map(json.dumps, waiting)]
