"""Looking and auditing, again and again, for as long as the process lives."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import structlog

from seaway.audit import Difference, Ledgers, Report, Told, Unaskable, ask_services, audited
from seaway.audit.asking import Endpoints
from seaway.audit.telling import Question
from seaway.contract import address_of, installed_types
from seaway.errors import BrokerUnavailable
from seaway.monitor.looking import Sight, Watched, look
from seaway.monitor.metrics import show_answers, show_report, show_sight
from seaway.monitor.pace import LATELY, Pace
from seaway.monitor.rounds import Rounds
from seaway.topology.backbone import BEGINNING

log = structlog.get_logger("seaway.monitor")

AGAIN_AFTER = 5.0
"""Seconds after which an audit is tried again that could not be done."""


class Observed(Watched, Ledgers, Protocol):
    """What the monitor reads of the broker."""


@dataclass(slots=True)
class Monitor:
    """Looks and audits while its context lasts, and exports what it sees.

    Whoever is away, broker or service, is waited for: what is exported stays as it was, and the
    metrics say how old it is. It reads, and never writes.
    """

    broker: Observed
    services: Endpoints
    rounds: Rounds
    look_every: float
    lately: float = LATELY
    sight: Sight = field(default_factory=Sight)
    paces: dict[str, Pace] = field(default_factory=dict)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _known: frozenset[Difference] = frozenset()
    _trouble: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Export that nobody has answered yet."""
        show_answers(self.services, self.services)

    async def __aenter__(self) -> Self:
        loops: tuple[Coroutine[Any, Any, None], ...] = (self._look_on(), self._audit_on())
        self._loops = [asyncio.create_task(loop) for loop in loops]
        return self

    async def __aexit__(self, *_: object) -> None:
        for loop in self._loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    async def goes_on(self) -> str:
        """Return what is wrong if it has stopped to look or to audit, or nothing."""
        return "has ended, which is a bug" if any(loop.done() for loop in self._loops) else ""

    async def look(self) -> None:
        """Look at the broker once. One that is away is told of in the log, once."""
        streams = {address_of(type_).stream.name for type_ in installed_types().values()}
        try:
            self.sight = await look(self.broker, sorted(streams), self.sight)
        except BrokerUnavailable as error:
            return self._could_not("look at the broker", error)
        self._could("look at the broker")
        backlogs = self.sight.backlogs
        self.paces = {name: self.paces.get(name, Pace(self.lately)) for name in backlogs}
        for name, backlog in backlogs.items():
            self.paces[name].take(backlog)
        return show_sight(self.sight, self.paces)

    async def audit(self) -> float:
        """Audit once; return how many seconds to wait before the next one."""
        sight, began, clock = self.sight, datetime.now(UTC), time.monotonic()
        since = self.rounds.since(began)
        try:
            report = await audited(self.broker, self._ask, since)
        except (Unaskable, BrokerUnavailable) as error:
            self._could_not("audit", error)
            return min(self.rounds.every, AGAIN_AFTER)
        self._could("audit")
        took = time.monotonic() - clock
        self.rounds.came(since, sight.at, sight.oldest, clean=report.is_clean)
        show_report(report, began, took)
        self._tell(report)
        return self.rounds.pause(took)

    async def _look_on(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self.look_every)

    async def _audit_on(self) -> None:
        await self.look()
        while True:
            # Not before it has looked: the first audit has to know what is old and not settled.
            has_looked = self.sight.at > BEGINNING
            await asyncio.sleep(await self.audit() if has_looked else self.look_every)

    async def _ask(self, question: Question) -> Sequence[Told]:
        try:
            answers = await ask_services(self.services, question)
        except Unaskable as error:
            show_answers(self.services, error.services)
            raise
        show_answers(self.services, ())
        return answers

    def _tell(self, report: Report) -> None:
        """Put into the log what was not there before, and what is there no more."""
        found = frozenset(report.differences)
        for each in sorted(found - self._known, key=lambda difference: difference.sequence):
            log.error("unaccounted", kind=each.kind, durable=each.durable, what=each.sentence)
        for each in self._known - found:
            log.info("accounted for", kind=each.kind, durable=each.durable, what=each.sentence)
        self._known = found

    def _could_not(self, what: str, error: Exception) -> None:
        if self._trouble.get(what) != str(error):
            log.warning(f"cannot {what}", why=str(error))
        self._trouble[what] = str(error)

    def _could(self, what: str) -> None:
        if self._trouble.pop(what, ""):
            log.info(f"can {what} again")
