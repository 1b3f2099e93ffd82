"""`seaway conformance`: a program in any language, put through what a service promises."""

import asyncio
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from seaway.conformance import Candidate, tried
from seaway.telemetry import configure_logging

REFUSED = 1
LINES = 40
"""How much of the program's log is shown if it has broken a promise."""


def conformance(
    command: Annotated[str, typer.Option(help="What starts the program: 'node dist/main.js'.")],
    service: Annotated[str, typer.Option(help="Its name, as in seaway.toml.")],
    message: Annotated[
        str, typer.Option(help="What it listens to: acme.users.v1.CreateUserConfirmed.")
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE of its environment; {folder}, {dependency}, {port} are replaced.",
            show_default=False,
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE of the messages that it is given; {key} is replaced.",
            show_default=False,
        ),
    ] = None,
    dependency: Annotated[
        str, typer.Option(help="HOST:PORT of what it calls; it must be running.")
    ] = "",
    whole_stream: Annotated[
        bool,
        typer.Option(
            "--whole-stream", help="It takes all of the message's stream from one durable."
        ),
    ] = False,
    promise: Annotated[
        list[str] | None,
        typer.Option(help="Only this one and what it needs; again for more.", show_default=False),
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds that anything may take.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """See whether a program keeps what every service promises.

    The program needs nothing for it. It runs with a broker of its own, which SEAWAY_NATS_URL
    names as for every service, and is watched from outside; your own broker and data are not
    touched. Its durable is the one that [[services.NAME.subscriptions]] makes. Messages are made
    up from their .proto; say with --field what no rule tells, as in
    --field email={key}@example.org.

    It is made to wait, and to fail, by what it waits for itself. One that publishes replies waits
    for the broker's receipts: they are held back, and then refused. One that publishes nothing
    calls somebody: give that as --dependency, such as 127.0.0.1:8080. The runner stands before it,
    at the address {dependency} (its port: {port}) that the program is told with --setting, as in
    --setting WEBHOOK_URL=http://{dependency}/. {folder} is a new one, for what it keeps.

    One line for each promise: passed, failed or not tried. It is *ready*. It *acks*. Its *replies*
    have the derived ids, conversation, cause, trace and guard. It reads the *headers*. It
    tolerates the *unknown*. It *sets-aside* what nobody can read. It is *idempotent*. It acks only
    *when-done*. It *keeps-alive* what takes long. It *naks* with a delay. It *drains* on SIGTERM.
    After a restart it *remembers*. Exits with 1 unless all of them passed.
    """
    candidate = Candidate(
        command=shlex.split(command),
        service=service,
        message=message,
        settings=_pairs("--setting", setting or ()),
        fields=_pairs("--field", field or ()),
        dependency=_place(dependency),
        whole_stream=whole_stream,
    )
    configure_logging("seaway", "error", "console")
    kept = asyncio.run(_all_kept(candidate, patience, promise or (), as_json=as_json))
    raise typer.Exit(0 if kept else REFUSED)


async def _all_kept(
    candidate: Candidate, patience: float, names: Sequence[str], *, as_json: bool
) -> bool:
    kept = True
    async for verdict in tried(candidate, patience, _show_log, names):
        kept = kept and verdict.found == "passed"
        print(json.dumps(verdict.to_json()) if as_json else verdict.line(), flush=True)
    return kept


def _show_log(said: str) -> None:
    lines = said.splitlines()[-LINES:]
    print("\n".join(["seaway: the program's log ended with", *lines]), file=sys.stderr)


def _pairs(option: str, entries: Sequence[str]) -> dict[str, str]:
    pairs = dict(entry.partition("=")[::2] for entry in entries)
    if wrong := [entry for entry in entries if "=" not in entry]:
        raise typer.BadParameter(f"{option} takes NAME=VALUE, and not {wrong[0]!r}")
    return pairs


def _place(dependency: str) -> str:
    host, _, port = dependency.rpartition(":")
    if dependency and not (host and port.isdecimal()):
        raise typer.BadParameter(f"--dependency takes HOST:PORT, and not {dependency!r}")
    return dependency
