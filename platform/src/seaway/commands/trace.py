"""`seaway trace`: one conversation, and who has not acted on it yet."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from seaway.broker import Broker
from seaway.commands.conversation import Said, understood
from seaway.commands.reach import reached
from seaway.contract import KEY, address_of, installed_types
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

    def sentence(self) -> str:
        """Say it."""
        state = "has it in hand, or will be given it again" if self.delivered else "waits"
        return f"{self.durable}: {self.said.short_type} #{self.said.stored.sequence} {state}"


def trace(
    request_id: Annotated[str, typer.Argument(help="The id that the client chose.")],
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Show a conversation, and who has not acted on it yet.

    A line for each message: who said it, what caused it, after how long. Then every durable
    that has not acted on one of them yet. Exits with 3 if nothing is stored under this id.
    To look at all conversations at once, there is `seaway audit`.
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
        existing = (await broker.streams()).keys() & {a.stream.name for a in addresses}
        subjects = [(a.stream.name, a.subject_for(key)) for a in addresses]
        conversation = await read_conversation(broker, [s for s in subjects if s[0] in existing])
        durables: dict[str, Durable] = {}
        for stream in existing:
            durables |= await broker.durables(stream)
        return conversation, not_acted(conversation, durables)


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
        Outstanding(name, said, delivered=durable.delivered >= said.stored.sequence)
        for said in conversation
        for name, durable in durables.items()
        if any(covers(pattern, said.stored.subject) for pattern in filters(durable.config))
        and not durable.has_settled(said.stored.sequence)
        and (name, said.stored.headers.get("ce-id")) not in replied
    ]


def _as_text(conversation: Sequence[Said], outstanding: Sequence[Outstanding]) -> list[str]:
    by_id = {said.stored.headers.get("ce-id"): said for said in conversation}
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
        for o in outstanding
    ]
    return [*lines, *map(json.dumps, waiting)]
