"""From where on each audit has to read, and how soon the next one may follow: pure.

An audit reads what is recent. But what it finds settled may be as old as the longest outage. So
it reads from the oldest message on that was not settled when the last complete audit began: each
message is read by an audit that begins after it was settled, however late that was.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from seaway.audit.rows import CLOCKS

SHARE = 0.1
"""The most of the time that audits may take, so that they are no load."""


@dataclass(slots=True)
class Rounds:
    """What the audits of a monitor have seen so far."""

    every: float
    """Seconds between two of them, at least."""
    window: float
    """How many seconds back each of them reads, at least."""
    unfinished: datetime | None = None
    """What was stored before this was settled, and is accounted for."""

    def since(self, now: datetime) -> datetime:
        """Return the moment from which on the next audit has to read."""
        recent = now - timedelta(seconds=self.window)
        return min(recent, self.unfinished) if self.unfinished else recent

    def came(
        self, since: datetime, looked_at: datetime, oldest: datetime | None, *, clean: bool
    ) -> None:
        """Take note of an audit that is complete.

        `looked_at` is when, before it, the durables were looked at, and `oldest` the oldest
        message that one of them had not settled then. What does not add up is read again and
        again, until it adds up or has aged out.
        """
        settled_until = looked_at - CLOCKS
        self.unfinished = min(settled_until, oldest or settled_until) if clean else since

    def pause(self, took: float) -> float:
        """Return how many seconds to wait after an audit that took so many."""
        return max(self.every, took * (1 - SHARE) / SHARE)
