"""What was set aside: look at it, send it back, throw it away."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from seaway.commands.moments import moment_of
from seaway.commands.reach import reached
from seaway.commands.redriving import FAILURES_IN_A_ROW, Redriven, redrive_each
from seaway.contract import installed_types, masked
from seaway.dead_letters import DEAD, Letter, discard, letters
from seaway.errors import TopologyError
from seaway.jetstream import JetStream

REFUSED = 1
USAGE = 2
UNKNOWN = 3
QUIET_FOR = 2.0
"""Seconds after which a redrive says how far it has come, and then again and again."""

dead_letters = typer.Typer(
    help="What was set aside: look at it, send it back, throw it away.",
    no_args_is_help=True,
)

Numbers = Annotated[
    list[int] | None, typer.Argument(help="Numbers from `list`.", show_default=False)
]
OfDurable = Annotated[str, typer.Option("--durable", help="Only what this durable gave up.")]
WithReason = Annotated[str, typer.Option("--reason", help="Only with this code.")]
Since = Annotated[
    str, typer.Option("--since", help="Only what was given up since: 30m, 2h, 7d or a time.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One object per line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: all that fit everything that is said here."""

    numbers: tuple[int, ...]
    durable: str
    reason: str
    since: datetime | None

    @classmethod
    def of(cls, numbers: list[int] | None, durable: str, reason: str, since: str) -> "Selection":
        """Read the options of a command. Raises BadParameter."""
        return cls(tuple(numbers or ()), durable, reason, moment_of(since) if since else None)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.numbers or self.durable or self.reason or self.since)

    async def read(self, broker: JetStream) -> list[Letter]:
        """Return the letters, oldest first. Ends the command if one of the numbers is not there.

        Raises TopologyError if there is no stream of dead letters, and BrokerUnavailable.
        """
        if DEAD.name not in await broker.streams():
            raise TopologyError(f"there is no stream {DEAD.name}: seaway topology apply makes it")
        found = [each async for each in letters(broker, self.durable, self.reason)]
        if missing := set(self.numbers) - {letter.sequence for letter in found}:
            named = ", ".join(f"#{number}" for number in sorted(missing))
            print(f"there is no dead letter {named} that fits", file=sys.stderr)
            raise typer.Exit(UNKNOWN)
        return [
            letter
            for letter in found
            if (not self.numbers or letter.sequence in self.numbers)
            and (not self.since or letter.last_at >= self.since)
        ]


@dead_letters.command("list")
def show_list(
    durable: OfDurable = "", reason: WithReason = "", since: Since = "", as_json: AsJson = False
) -> None:
    """List what was set aside, oldest first: number, when, by whom, why. No personal data."""
    found = asyncio.run(_read(Selection.of(None, durable, reason, since)))
    for letter in found:
        print(json.dumps(_as_object(letter)) if as_json else line(letter))
    if not found:
        _say_none()


@dead_letters.command("show")
def show_one(
    number: Annotated[int, typer.Argument(help="A number from `list`.")],
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Do not mask names and addresses.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one: its headers, and its body as far as it can be decoded. Personal fields read ***.

    Exits with 3 if it is not there (any more).
    """
    (letter,) = asyncio.run(_read(Selection((number,), "", "", None)))
    body = _body(letter, show_personal=show_personal)
    if as_json:
        known = _as_object(letter) | {"headers": dict(letter.headers)}
        print(json.dumps(known | body, ensure_ascii=False))
    else:
        print("\n".join(_page(letter, body)))


@dead_letters.command("redrive")
def send_back(
    numbers: Numbers = None,
    durable: OfDurable = "",
    reason: WithReason = "",
    since: Since = "",
    per_second: Annotated[float, typer.Option(min=0.01, help="How many, at most.")] = 10.0,
    within: Annotated[float, typer.Option(help="Seconds to wait for each to be settled.")] = 30.0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send messages back to the one durable that gave each of them up; all if none is chosen.

    Waits until each is handled, or is set aside again; stops after three in a row that were not
    handled. A message that was handled meanwhile is not handled again. May be interrupted and
    repeated. Exits with 1 if one came back or was refused, 3 if what became of one is unknown.
    """
    selection = Selection.of(numbers, durable, reason, since)
    if dry_run:
        _would(asyncio.run(_read(selection)), "redrive", as_json=as_json)
    else:
        raise typer.Exit(asyncio.run(_redrive(selection, per_second, within, as_json=as_json)))


@dead_letters.command("discard")
def throw_away(
    numbers: Numbers = None,
    durable: OfDurable = "",
    reason: WithReason = "",
    since: Since = "",
    everything: Annotated[bool, typer.Option("--all", help="Yes, all of them.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away for good: by number, by filter, or --all. Nobody handles them."""
    selection = Selection.of(numbers, durable, reason, since)
    if selection.is_everything and not everything:
        print("say which: numbers, --durable, --reason, --since or --all", file=sys.stderr)
        raise typer.Exit(USAGE)
    if dry_run:
        _would(asyncio.run(_read(selection)), "discard", as_json=as_json)
    else:
        asyncio.run(_discard(selection, as_json=as_json))


async def _read(selection: Selection) -> list[Letter]:
    async with reached() as broker:
        return await selection.read(broker)


async def _discard(selection: Selection, *, as_json: bool) -> None:
    async with reached() as broker:
        found = await selection.read(broker)
        for letter in found:
            gone = await discard(broker, letter)
            result = "discarded" if gone else "gone already"
            print(_told(letter, result, as_json=as_json))
    if not found:
        _say_none()


async def _redrive(
    selection: Selection, per_second: float, within: float, *, as_json: bool
) -> int:
    """Redrive, say what became of each, and return the exit code."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    clock = asyncio.get_running_loop()
    done: list[Redriven] = []
    async with reached() as broker:
        found = await selection.read(broker)
        speak_at = clock.time() + QUIET_FOR
        rounds = redrive_each(
            broker, found, per_second=per_second, within=within, stopping=stopping
        )
        async for redriven in rounds:
            done.append(redriven)
            more = {"why": redriven.why, "sequence": redriven.sequence}
            print(_told(redriven.letter, redriven.result, as_json=as_json, **more), flush=True)
            if clock.time() >= speak_at:
                print(f"… {len(done)} of {len(found)}", file=sys.stderr, flush=True)
                speak_at = clock.time() + QUIET_FOR
    if not found:
        _say_none()
    return _summed_up(done, len(found), interrupted=stopping.is_set())


def _summed_up(done: Sequence[Redriven], asked: int, *, interrupted: bool) -> int:
    """Say how it ended, and return the exit code."""
    results = [redriven.result for redriven in done]
    left = asked - len(done)
    if left:
        why = "interrupted" if interrupted else f"{FAILURES_IN_A_ROW} in a row were not handled"
        print(f"stopped, {why}: {left} left where they were", file=sys.stderr)
    if unknown := results.count("unknown"):
        print(
            f"{unknown} sent back and not settled yet: handled some time, or set aside again",
            file=sys.stderr,
        )
    if {"came back", "refused"} & set(results):
        return REFUSED
    return UNKNOWN if unknown or left else 0


def _would(found: Sequence[Letter], verb: str, *, as_json: bool) -> None:
    for letter in found:
        print(_told(letter, f"would {verb}", as_json=as_json))
    if not found:
        _say_none()


def _told(letter: Letter, result: str, *, as_json: bool, **more: object) -> str:
    if as_json:
        return json.dumps(_as_object(letter) | {"result": result} | more)
    why = f" ({more['why']})" if more.get("why") else ""
    return f"{line(letter)}: {result}{why}"


def _say_none() -> None:
    print("nothing to do: no dead letter fits", file=sys.stderr)


def line(letter: Letter) -> str:
    """Return a letter as one line, without personal data."""
    when = f"{letter.last_at.astimezone():%Y-%m-%d %H:%M:%S}"
    return (
        f"#{letter.sequence}  {when}  {letter.durable or '?'}  {letter.reason}"
        f"  {_short(letter)}  {letter.message_id}"
    )


def _short(letter: Letter) -> str:
    return letter.message.rpartition(".")[2] or "?"


def _as_object(letter: Letter) -> dict[str, object]:
    return {
        "number": letter.sequence,
        "durable": letter.durable,
        "reason": letter.reason,
        "message": letter.message,
        "message_id": letter.message_id,
        "attempts": letter.attempts,
        "first_at": letter.first_at.isoformat(),
        "last_at": letter.last_at.isoformat(),
        "version": letter.version,
        "subject": letter.original_subject,
        "bytes": len(letter.data),
    }


def _body(letter: Letter, *, show_personal: bool) -> dict[str, Any]:
    """Decode what can be decoded, also what breaks a rule of its contract."""
    type_ = installed_types().get(letter.message)
    if type_ is None:
        return {"undecodable": "UNKNOWN_TYPE"}
    try:
        body = type_.FromString(letter.data)
    except DecodeError:
        return {"undecodable": "UNDECODABLE"}
    shown = body if show_personal else masked(body)
    return {"body": MessageToDict(shown, preserving_proto_field_name=True)}


def _page(letter: Letter, body: Mapping[str, Any]) -> list[str]:
    fields = body.get("body", {})
    wrong = body.get("undecodable")
    return [
        line(letter),
        *(f"  {name}: {value}" for name, value in list(_as_object(letter).items())[5:]),
        "headers",
        *(f"  {name}: {value}" for name, value in letter.headers.items()),
        f"body  {len(letter.data)} bytes, {wrong}" if wrong else "body",
        *(f"  {name}: {value!r}" for name, value in fields.items()),
    ]
