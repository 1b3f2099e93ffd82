"""`seaway mail`: what the mail catcher of `seaway dev` has taken."""

import sys
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Annotated

import typer

from seaway.dev.folder import NAME
from seaway.manifest import find_root

UNKNOWN = 1

mail = typer.Typer(
    help="The mail that `seaway dev` has caught; none of it went out.", no_args_is_help=True
)


@mail.command("list")
def show_list() -> None:
    """One line for each mail, the oldest first: its number, when it came, to whom, about what."""
    caught = _caught()
    for number, path in enumerate(caught, start=1):
        message = _read(path)
        at = path.name[9:17]
        when = f"{at[:2]}:{at[2:4]}:{at[4:6]}"
        print(f"{number:>4}  {when}  {message['To'] or '?'}  {message['Subject'] or ''}")
    if not caught:
        print("no mail yet", file=sys.stderr)


@mail.command("show")
def show_one(
    number: Annotated[
        int | None, typer.Argument(help="From the list; the newest if none is given.", min=1)
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="The HTML part, for a browser.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they came.")] = False,
) -> None:
    """Show one mail: who, what about, and its text."""
    caught = _caught()
    if not caught or (number or 0) > len(caught):
        print(f"there are {len(caught)} mails; see `seaway mail list`", file=sys.stderr)
        raise typer.Exit(UNKNOWN)
    path = caught[number - 1 if number else -1]
    if raw:
        sys.stdout.buffer.write(path.read_bytes())
        return
    message = _read(path)
    if not html:
        for name in ("From", "To", "Subject", "Date", "Message-ID"):
            print(f"{name}: {message[name] or ''}")
        print()
    print(_part(message, "html" if html else "plain"))


def _caught() -> list[Path]:
    folder = find_root(Path.cwd()) / NAME / "mail"
    return sorted(folder.glob("*.eml"))


def _read(path: Path) -> EmailMessage:
    message = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else f"(it has no {kind} part)"
