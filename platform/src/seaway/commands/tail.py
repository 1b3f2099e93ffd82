"""`seaway tail`: messages as they are stored."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from seaway.broker import Stored
from seaway.commands.conversation import Said, understood
from seaway.commands.reach import reached


def tail(
    subject: Annotated[
        str, typer.Option(help="A filter such as users.v1.create-confirmed.*, or > for all.")
    ] = ">",
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Do not mask names and addresses.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Show messages as they are stored, until Ctrl-C.

    Begins with what is stored from now on. Personal fields read ***.
    """

    def show(stored: Stored) -> None:
        said = understood(stored)
        line = said.to_json(show_personal=show_personal) if as_json else _line(said, show_personal)
        print(line, flush=True)

    asyncio.run(_follow(subject, show))


async def _follow(subject: str, show: Callable[[Stored], None]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with reached() as broker, broker.follow(subject, show, _say_lost):
        print(f"listening on {subject}; Ctrl-C ends it", file=sys.stderr, flush=True)
        await ended.wait()


def _line(said: Said, show_personal: bool) -> str:
    stored = said.stored
    head = f"{stored.at.astimezone():%H:%M:%S.%f}"[:-3] + f"  #{stored.sequence}  {stored.subject}"
    if said.envelope is None:
        return f"{head}  {said.wrong}: {len(stored.data)} bytes that say to be {said.type or '?'}"
    fields = said.fields(show_personal=show_personal)
    body = "  ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{head}  {said.short_type} by {said.source}  {body}"


def _say_lost() -> None:
    print("… the broker was away: messages may be missing here", file=sys.stderr, flush=True)
