"""How fast a durable gets on, from what was seen of it lately: pure."""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from seaway.monitor.looking import Backlog

LATELY = 60.0
"""Seconds over which a rate is taken, and for which a fetch is remembered."""


@dataclass(slots=True)
class Pace:
    """One durable, as it was seen lately. The first of what is kept is as old as `over` says."""

    over: float = LATELY
    seen: deque[Backlog] = field(default_factory=deque)

    def take(self, now: Backlog) -> None:
        """Take in what was seen; what is too old is forgotten."""
        if self.seen and _began_anew(self.seen[-1], now):
            self.seen.clear()
        self.seen.append(now)
        start = now.durable.seen_at - timedelta(seconds=self.over)
        while len(self.seen) > 1 and self.seen[1].durable.seen_at <= start:
            self.seen.popleft()

    @property
    def drain(self) -> float:
        """In how many seconds nothing would be left if nothing came, at the rate of lately.

        Infinite if nothing was settled lately, and not a number after the first look.
        """
        if not self.seen[-1].unsettled:
            return 0.0
        began, now = self.seen[0], self.seen[-1]
        seconds = (now.durable.seen_at - began.durable.seen_at).total_seconds()
        if seconds <= 0:
            return math.nan
        settled = _settled(began, now)
        return now.unsettled * seconds / settled if settled else math.inf

    @property
    def is_pulled(self) -> bool:
        """Whether somebody has fetched, or waited for messages, lately."""
        fetched = self.seen[-1].durable.deliveries - self.seen[0].durable.deliveries
        return bool(fetched) or any(backlog.durable.pulls for backlog in self.seen)


def _settled(began: Backlog, now: Backlog) -> int:
    """Return how many messages were settled in between, as nearly as the broker tells.

    Two bounds: no more than deliveries came to an end, which counts one that has failed; and no
    more than have left what is unsettled, were everything new in the stream for this durable.
    """
    ended = _ended(now) - _ended(began)
    left = began.unsettled - now.unsettled + now.last - began.last
    return max(0, min(ended, left))


def _ended(backlog: Backlog) -> int:
    return backlog.durable.deliveries - backlog.durable.ack_pending


def _began_anew(before: Backlog, now: Backlog) -> bool:
    """Whether it is another durable of that name, or was wound back: it has more than came."""
    more = now.unsettled - before.unsettled > now.last - before.last
    return more or now.durable.created != before.durable.created
