"""A whole trial: one promise after the other, on the program as it runs."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seaway.conformance import checks
from seaway.conformance.candidate import Candidate
from seaway.conformance.promise import Broken, NotTried, Verdict
from seaway.conformance.trial import Trial, on_trial
from seaway.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Promise:
    """What a service promises, and how it is tried."""

    name: str
    check: Callable[[Trial], Awaitable[str]]
    needs: tuple[str, ...] = ("ready", "acks")
    """What has to be tried with it."""


PROMISES = (
    Promise("ready", checks.is_ready),
    Promise("acks", checks.acks),
    Promise("replies", checks.replies),
    Promise("headers", checks.reads_headers),
    Promise("unknown", checks.tolerates_the_unknown),
    Promise("sets-aside", checks.sets_aside),
    Promise("idempotent", checks.is_idempotent),
    Promise("when-done", checks.acks_only_what_is_done, ("ready", "acks", "naks")),
    Promise("keeps-alive", checks.keeps_alive, ("ready", "acks", "when-done", "naks")),
    Promise("naks", checks.naks, ("ready", "acks", "when-done")),
    Promise("drains", checks.drains),
    Promise("remembers", checks.remembers, ("ready", "acks", "drains")),
)
"""In the order in which they are tried."""
NAMES = tuple(promise.name for promise in PROMISES)


def chosen(names: Sequence[str]) -> Sequence[Promise]:
    """Return the promises of these names with those that they need, or all if none is named.

    Raises SettingsError for a name that is none.
    """
    if unknown := set(names) - set(NAMES):
        raise SettingsError(f"no promise {', '.join(sorted(unknown))}, only {', '.join(NAMES)}")
    wanted = {n for p in PROMISES if p.name in names for n in (p.name, *p.needs)} or set(NAMES)
    return [promise for promise in PROMISES if promise.name in wanted]


async def tried(
    candidate: Candidate,
    patience: float,
    tell: Callable[[str], None],
    names: Sequence[str] = (),
) -> AsyncIterator[Verdict]:
    """Yield what was found of each promise, or of those that are named and what they need.

    `tell` hears the program's log if one was broken. Raises SettingsError if the candidate cannot
    be tried as it is described.
    """
    promises, broken = chosen(names), False
    with tempfile.TemporaryDirectory(prefix="seaway-conformance-") as folder:
        async with on_trial(candidate, Path(folder), patience) as trial:
            for promise in promises:
                verdict = await _tried(promise, trial)
                broken = broken or verdict.found == "failed"
                yield verdict
            if broken:
                tell(trial.program.said)


async def _tried(promise: Promise, trial: Trial) -> Verdict:
    ended = trial.program.ended and promise.name != "remembers"
    if promise.name != "ready" and (ended or not trial.is_ready):
        return Verdict(promise.name, "not tried", "the program does not run")
    try:
        return Verdict(promise.name, "passed", await promise.check(trial))
    except Broken as error:
        return Verdict(promise.name, "failed", str(error))
    except NotTried as error:
        return Verdict(promise.name, "not tried", str(error))
