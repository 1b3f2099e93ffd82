"""Named places at which a test can make a process die, as it would at a power cut.

`SEAWAY_CRASH_AT=U3:2` ends the process, without any clean-up, the second time that it comes by
U3. A production image (`SEAWAY_PRODUCTION=true`) refuses to start with it. `seaway.testing` has
what it takes to try every point on a service of one's own.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Self

KILLED = 137
"""The exit code, as of a process that was killed with SIGKILL."""
SENT_WITHIN = 0.1
"""Seconds in which what was handed to a connection has left the process for sure."""

POINTS = {
    "G1": "before the request is published",
    "G2": "the request is stored, the broker's answer not yet looked at",
    "G3": "the broker's answer is understood, the client not yet told",
    "G4": "watching for what becomes of it",
    "U1": "fetched",
    "U2": "inside the transaction, after the effect",
    "U3": "committed, the reply not yet published",
    "U4": "the reply is published, not yet acked",
    "U5": "acked",
}
"""Every point that this process knows, and what has happened when it comes there."""


@dataclass(slots=True)
class CrashAt:
    """A point, and how often a process passes it before it dies there."""

    point: str = ""
    left: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `U3` or `U3:2`; an empty text is no point. Raises ValueError with the text."""
        point, colon, time = text.partition(":")
        if text and point not in POINTS:
            raise ValueError(f"{text!r}: {point!r} is none of {', '.join(sorted(POINTS))}")
        if colon and not (time.isascii() and time.isdigit() and int(time) > 0):
            raise ValueError(f"{text!r}: which time it comes by is a number from 1 on")
        return cls(point, int(time or 1))


_armed = CrashAt()


def declare(point: str, where: str) -> None:
    """Make a point of one's own known, when the module that has it is imported."""
    POINTS[point] = where


def arm(text: str) -> None:
    """Have this process die where `text` says; empty: nowhere. Raises ValueError."""
    global _armed
    _armed = CrashAt.parse(text)


def crash_here(point: str) -> None:
    """End the process here, if it was told to; say so in one line on stderr."""
    if point == _armed.point:
        _armed.left -= 1
        if _armed.left == 0:
            os.write(2, f"crashed at {point}\n".encode())
            os._exit(KILLED)


async def crash_once_sent(point: str) -> None:
    """End the process here, after what it has sent so far has left it.

    A connection's client writes when the event loop turns. A process that died without a turn
    would take with it what it was said to have sent.
    """
    if point == _armed.point:
        await asyncio.sleep(SENT_WITHIN)
        crash_here(point)
