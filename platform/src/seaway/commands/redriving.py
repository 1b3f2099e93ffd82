"""Redriving one dead letter after the other, with an eye on what becomes of each."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from seaway.broker import Stored
from seaway.dead_letters import (
    DEAD,
    Letter,
    Shelf,
    letter_subject,
    name_by_place,
    redrive,
    stream_with,
)
from seaway.errors import ContractError, KeyReused, TooLarge
from seaway.fetching import told
from seaway.topology.backbone import Durable

type Result = Literal["handled", "came back", "refused", "unknown"]

FAILURES_IN_A_ROW = 3
"""… after which the rest is left alone: whatever is wrong is wrong with all of them."""
LOOK_EVERY = 0.05


class Place(Shelf, Protocol):
    """What it takes to redrive and to see what comes of it; a broker offers it."""

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first message on `subjects` after a place; None: there is none.

        Raises BrokerUnavailable.
        """

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name. Raises BrokerUnavailable."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of a dead letter that was to be redriven."""

    letter: Letter
    result: Result
    why: str = ""
    """A reason or a sentence, unless it was handled."""
    sequence: int = 0
    """The message's new place in the stream; 0 if it was refused."""


async def redrive_each(
    place: Place,
    letters: Sequence[Letter],
    *,
    per_second: float,
    within: float,
    stopping: asyncio.Event,
) -> AsyncIterator[Redriven]:
    """Redrive one after the other, and yield what became of each, known after `within` seconds.

    Never more than `per_second`. Ends before its time if `stopping` is set, and after three in a
    row that were not handled. What was not yielded is where it was. Raises BrokerUnavailable.
    """
    clock, failures = asyncio.get_running_loop(), 0
    for letter in letters:
        next_at = clock.time() + 1 / per_second
        redriven = await _redriven(place, letter, within, stopping)
        yield redriven
        failures = 0 if redriven.result == "handled" else failures + 1
        if failures == FAILURES_IN_A_ROW or await told(stopping, max(0, next_at - clock.time())):
            return


async def _redriven(
    place: Place, letter: Letter, within: float, stopping: asyncio.Event
) -> Redriven:
    try:
        stream = stream_with(letter.original_subject).name
        if letter.durable not in await place.durables(stream):
            return Redriven(letter, "refused", f"{stream} has no durable {letter.durable}")
        sequence = await redrive(place, letter)
    except (ContractError, KeyReused, TooLarge) as error:
        return Redriven(letter, "refused", str(error))
    clock = asyncio.get_running_loop()
    until = clock.time() + within
    again = letter_subject(letter.durable, name_by_place(sequence))
    while True:
        # In this order: a letter is stored before its message is settled. Whoever leads the
        # stream is asked for it: another replica may not show it yet.
        durable = (await place.durables(stream)).get(letter.durable)
        if back := await place.next_after(DEAD.name, again, 0):
            return Redriven(letter, "came back", Letter.of(back).reason, sequence)
        if durable and durable.has_settled(sequence):
            return Redriven(letter, "handled", sequence=sequence)
        if clock.time() >= until:
            return Redriven(letter, "unknown", f"not settled within {within:g} s", sequence)
        if await told(stopping, LOOK_EVERY):
            return Redriven(letter, "unknown", "interrupted", sequence)
