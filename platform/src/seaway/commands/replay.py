"""`seaway replay`: a durable reads its stream again, from a place on."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

import typer

from seaway.broker import Stored
from seaway.commands.moments import moment_of
from seaway.commands.reach import reached
from seaway.errors import TopologyError
from seaway.jetstream import JetStream
from seaway.topology.backbone import Durable
from seaway.topology.rules import filters

UNKNOWN = 3


class Countable(Protocol):
    """What it takes to say how much a replay will be. Each raises BrokerUnavailable."""

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name."""

    async def count_after(self, stream: str, subjects: str, sequence: int) -> int:
        """Return how many messages on `subjects` some replica has after a place."""

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first of them, if who leads the stream knows one."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A durable, and the place in its stream from which it is to read again."""

    stream: str
    durable: str
    first: int
    messages: int
    """How many there are for it from there on."""

    def sentence(self) -> str:
        """Say what it will do."""
        what = f"{self.durable} reads {self.stream} again from #{self.first}"
        return f"{what}: {self.messages} messages"


def replay(
    durable: Annotated[str, typer.Option(help="Who is to read again.")],
    from_: Annotated[
        str, typer.Option("--from", help="A place in the stream, 30m, 2h, 7d (ago) or a time.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")
    ] = False,
) -> None:
    """Have a durable read its stream again, from a place on.

    It may run meanwhile. What its inbox knows has no effect again: the same replies are said
    again, and recognised. Nothing that it has not settled yet is left out. Exits with 3 if there
    is no such durable.
    """
    if not from_.isdecimal():
        moment_of(from_)
    planned = asyncio.run(_planned(durable, from_))
    print(planned.sentence())
    if not planned.messages:
        print("nothing to do")
    elif dry_run or not (yes or typer.confirm("Go on?")):
        print("nothing was changed")
    else:
        # Meanwhile it may have come further, so it still leaves nothing out.
        asyncio.run(_begin(planned))
        print("begun")


async def _planned(name: str, from_: str) -> Replay:
    async with reached() as broker:
        stream, durable = await _find(broker, name)
        place = int(from_) if from_.isdecimal() else await _place_at(broker, stream, from_)
        return await plan(broker, stream, name, first_of(durable, place))


async def _begin(planned: Replay) -> None:
    async with reached() as broker:
        await broker.rewind_durable(planned.stream, planned.durable, planned.first)


async def _find(broker: JetStream, name: str) -> tuple[str, Durable]:
    known: dict[str, tuple[str, Durable]] = {}
    for stream in await broker.streams():
        durables: Mapping[str, Durable] = await broker.durables(stream)
        known |= {each: (stream, durable) for each, durable in durables.items()}
    if name not in known:
        there = ", ".join(sorted(known)) or "none at all"
        print(f"there is no durable {name}; there are: {there}", file=sys.stderr)
        raise typer.Exit(UNKNOWN)
    return known[name]


async def _place_at(broker: JetStream, stream: str, text: str) -> int:
    place = await broker.place_at(stream, moment_of(text))
    return place if place is not None else (await broker.streams())[stream].last + 1


def first_of(durable: Durable, place: int) -> int:
    """Return from where a durable can go on, if it is asked to from some place.

    Not before the place where it began, and not after anything that it has not settled: the
    broker forgets what lies before, and it would never be handled. Raises TopologyError for a
    durable that no place can be given to.
    """
    match durable.config:
        case {"deliver_policy": "by_start_sequence", "opt_start_seq": int(begun)}:
            pass
        case {"deliver_policy": "new"}:
            raise TopologyError("this durable was told to begin with what is new: not by topology")
        case _:
            begun = 1
    return max(begun, min(place, durable.ack_floor + 1))


async def plan(broker: Countable, stream: str, name: str, first: int) -> Replay:
    """Count what a durable will be given from a place on."""
    subjects = filters((await broker.durables(stream))[name].config)
    # No subject fits two of them: the broker makes no such durable.
    counted = [await _count(broker, stream, each, first - 1) for each in subjects]
    return Replay(stream, name, first, sum(counted))


async def _count(broker: Countable, stream: str, subjects: str, after: int) -> int:
    shown = await broker.count_after(stream, subjects, after)
    # A replica that lags may show none where there are some, and that would be the end of it.
    return shown or int(await broker.next_after(stream, subjects, after) is not None)
