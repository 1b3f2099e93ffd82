"""`seaway audit`: whether everything that was accepted is accounted for."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from seaway import health
from seaway.audit import Report, Unaskable, ask_services, audited, settled
from seaway.commands.moments import moment_of
from seaway.commands.reach import reached
from seaway.dead_letters import Letter
from seaway.dev.ports import offset_of_running
from seaway.errors import BrokerUnavailable, SeawayError
from seaway.fetching import told
from seaway.jetstream import JetStream
from seaway.manifest import NAME, find_root, read_manifest
from seaway.telemetry import account_for

DIFFERENT = 1
UNREACHABLE = 3
SILENT_FOR = 2.0
"""Seconds after which a person wants to know that it goes on."""

type Endpoints = Mapping[str, Sequence[str]]


def audit(
    since: Annotated[
        str, typer.Option(help="Only what was stored since: 30m, 2h, 7d or a time.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
    settled_within: Annotated[
        float, typer.Option(min=0, help="First wait up to so many seconds until nothing is left.")
    ] = 0.0,
    every: Annotated[
        float, typer.Option(min=0, help="Audit again and again, with so many seconds between.")
    ] = 0.0,
    metrics_port: Annotated[
        int, typer.Option(help="With --every: where /metrics, /livez and /readyz are served.")
    ] = 9106,
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
    and no difference, so it may be run at any time. Shows no personal data.
    """
    endpoints = _given(service) if service else _of_manifest()
    try:
        if every:
            asyncio.run(_watch(endpoints, since, every, metrics_port))
            return
        report = asyncio.run(_once(endpoints, since, settled_within))
    except Unaskable as error:
        print(f"seaway: {error}", file=sys.stderr)
        raise typer.Exit(UNREACHABLE) from error
    for line in as_objects(report) if as_json else as_text(report):
        print(line)
    raise typer.Exit(0 if report.is_clean else DIFFERENT)


async def _once(endpoints: Endpoints, since: str, settled_within: float) -> Report:
    async with reached() as broker:
        if settled_within and not await settled(broker, settled_within):
            print(f"not settled within {settled_within:g} s", file=sys.stderr)
        return await _audited(broker, endpoints, since, Progress())


async def _audited(
    broker: JetStream, endpoints: Endpoints, since: str, progress: "Progress"
) -> Report:
    from_then = moment_of(since) if since else None
    return await audited(broker, partial(ask_services, endpoints), from_then, progress)


async def _watch(endpoints: Endpoints, since: str, every: float, port: int) -> None:
    """Audit until SIGTERM or Ctrl-C; say what is new, and export how much there is."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    last = LastAudit()
    checks = health.Health(ready={"last audit": last.check})
    async with AsyncExitStack() as open_ones:
        try:
            port = await open_ones.enter_async_context(health.serving(checks, "127.0.0.1", port))
        except OSError as error:
            raise SeawayError(f"port {port} cannot be used: {error.strerror}") from error
        broker = await open_ones.enter_async_context(reached())
        print(f"auditing every {every:g} s; http://127.0.0.1:{port}/metrics", flush=True)
        while not stopping.is_set():
            try:
                last.came(await _audited(broker, endpoints, since, Progress(silent=True)))
            except (Unaskable, BrokerUnavailable) as error:
                last.failed(str(error))
            await told(stopping, within=every)


@dataclass(slots=True)
class LastAudit:
    """What the last audit of a monitor found, and what it has said already."""

    wrong: str = "not done yet"
    said: set[str] = field(default_factory=set)

    async def check(self) -> str:
        """Return why nothing is known, or nothing. A difference is no reason not to be ready."""
        return self.wrong

    def came(self, report: Report) -> None:
        """Export it, and say what was not there before."""
        self.wrong = ""
        account_for(report.unaccounted, report.pending)
        lines = [f"{d.kind}: {d.sentence}" for d in report.differences]
        for line in [line for line in lines if line not in self.said]:
            print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
        self.said = set(lines)

    def failed(self, why: str) -> None:
        """Say it, once."""
        if why != self.wrong:
            print(f"{datetime.now(UTC):%H:%M:%S} {why}", flush=True)
        self.wrong = why


@dataclass(slots=True)
class Progress:
    """Says now and then how far it has come, if it takes longer than a person likes to wait."""

    silent: bool = False
    next: float = field(default_factory=lambda: time.monotonic() + SILENT_FOR)

    def __call__(self, messages: int) -> None:
        """Take note of how many messages were read."""
        if not self.silent and time.monotonic() > self.next:
            print(f"read {messages:,} messages …", file=sys.stderr, flush=True)
            self.next = time.monotonic() + SILENT_FOR


def _given(services: Sequence[str]) -> Endpoints:
    endpoints: dict[str, list[str]] = {}
    for entry in services:
        name, _, url = entry.partition("=")
        if not name or urlsplit(url).scheme != "http":
            raise typer.BadParameter(f"{entry!r} is not NAME=http://HOST:PORT")
        endpoints.setdefault(name, []).append(url)
    return endpoints


def _of_manifest() -> Endpoints:
    programs = read_manifest(find_root(Path.cwd()) / NAME).programs.values()
    offset = offset_of_running()
    return {p.name: [f"http://127.0.0.1:{p.metrics_port + offset}"] for p in programs}


def as_text(report: Report) -> list[str]:
    """Return a line for each difference and each dead letter, and all counts."""
    return [
        *(f"{difference.kind}: {difference.sentence}" for difference in report.differences),
        *(f"set aside: {_of_letter(letter)}" for letter in report.letters),
        *(f"{name} keeps no record: what it loses is not seen" for name in report.unrecorded),
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
        "unrecorded": list(report.unrecorded),
    }
    return [json.dumps(x) for x in [*(d.to_json() for d in report.differences), *letters, counts]]


def _of_letter(letter: Letter) -> str:
    since = f"{letter.last_at:%Y-%m-%d %H:%M}"
    return f"{letter.durable} gave up on {letter.message_id}: {letter.reason} ({since})"
