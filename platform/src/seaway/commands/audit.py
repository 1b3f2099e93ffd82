"""`seaway audit`: whether everything that was accepted is accounted for."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from seaway.audit import Report, Unaskable, ask_services, audited, settled
from seaway.audit.asking import Endpoints, endpoints
from seaway.commands.moments import moment_of
from seaway.commands.reach import reached
from seaway.dead_letters import Letter
from seaway.dev.ports import offset_of_running
from seaway.manifest import NAME, find_root, read_manifest

DIFFERENT = 1
UNREACHABLE = 3
UNSETTLED = 5
SILENT_FOR = 2.0
"""Seconds after which a person wants to know that it goes on."""


def audit(
    since: Annotated[
        str, typer.Option(help="Only what was stored since: 30m, 2h, 7d or a time.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
    settled_within: Annotated[
        float, typer.Option(min=0, help="First wait up to so many seconds until nothing is left.")
    ] = 0.0,
    service: Annotated[
        list[str] | None,
        typer.Option(
            help=f"NAME=URL of a metrics port, instead of {NAME}; again for each replica.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find whatever was accepted and is not accounted for.

    Compares the streams with what each service says that it has handled, with the rows that it
    keeps, and with the dead letters. Names every difference and exits with 1 if there is one;
    with 3 if a service or the broker cannot be asked. What nobody has settled yet is pending,
    and no difference, so it may be run at any time; but with 5 if something is still pending
    after --settled-within. Shows no personal data.
    """
    asked = _given(service) if service else _of_manifest()
    try:
        is_settled, report = asyncio.run(_once(asked, since, settled_within))
    except Unaskable as error:
        print(f"seaway: {error}", file=sys.stderr)
        raise typer.Exit(UNREACHABLE) from error
    for line in as_objects(report) if as_json else as_text(report):
        print(line)
    if not is_settled:
        print(f"not settled within {settled_within:g} s", file=sys.stderr)
    raise typer.Exit(exit_code(report, is_settled=is_settled))


def exit_code(report: Report, *, is_settled: bool) -> int:
    """Return how it ended: a difference is worse than what is not settled in time."""
    if not report.is_clean:
        return DIFFERENT
    return 0 if is_settled else UNSETTLED


async def _once(services: Endpoints, since: str, settled_within: float) -> tuple[bool, Report]:
    """Return whether all was settled in time, if that was asked for, and the report."""
    from_then = moment_of(since) if since else None
    async with reached() as broker:
        is_settled = not settled_within or await settled(broker, settled_within)
        report = await audited(broker, partial(ask_services, services), from_then, Progress())
        return is_settled, report


@dataclass(slots=True)
class Progress:
    """Says now and then how far it has come, if it takes longer than a person likes to wait."""

    next: float = field(default_factory=lambda: time.monotonic() + SILENT_FOR)

    def __call__(self, messages: int) -> None:
        """Take note of how many messages were read."""
        if time.monotonic() > self.next:
            print(f"read {messages:,} messages …", file=sys.stderr, flush=True)
            self.next = time.monotonic() + SILENT_FOR


def _given(entries: Sequence[str]) -> Endpoints:
    try:
        return endpoints(entries)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _of_manifest() -> Endpoints:
    return read_manifest(find_root(Path.cwd()) / NAME).endpoints(offset_of_running())


def as_text(report: Report) -> list[str]:
    """Return a line for each difference and each dead letter, and all counts."""
    return [
        *(f"{difference.kind}: {difference.sentence}" for difference in report.differences),
        *(f"set aside: {_of_letter(letter)}" for letter in report.letters),
        *(f"{name} keeps no record: what it loses is not seen" for name in report.unrecorded),
        *(f"forgotten: {name} keeps nothing of {n}, as told" for name, n in _forgotten(report)),
        report.summary(),
    ]


def as_objects(report: Report) -> list[str]:
    """Return the same as JSON objects; the last one has the counts."""
    letters = [
        {"dead_letter": x.sequence, "durable": x.durable, "key": x.message_id, "reason": x.reason}
        for x in report.letters
    ]
    counts = {
        "accepted": report.accepted,
        "outcomes": report.outcomes,
        "dead_letters": len(report.letters),
        "pending": sum(report.pending.values()),
        "unaccounted": len(report.differences),
        "forgotten": dict(_forgotten(report)),
        "unrecorded": list(report.unrecorded),
    }
    return [json.dumps(x) for x in [*(d.to_json() for d in report.differences), *letters, counts]]


def _forgotten(report: Report) -> list[tuple[str, int]]:
    return sorted(report.forgotten.items())


def _of_letter(letter: Letter) -> str:
    since = f"{letter.last_at:%Y-%m-%d %H:%M}"
    return f"{letter.durable} gave up on {letter.message_id}: {letter.reason} ({since})"
