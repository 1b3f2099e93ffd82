"""`seaway sign-up`: the client of the gateway, for people and for scripts."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import grpc
import typer
from acme.gateway.v1 import sign_up_pb2 as api
from google.protobuf.json_format import MessageToDict

from gateway.client import Client, Refused, credentials

REFUSED = 1
UNKNOWN = 3
REJECTED = 4

A_FILE = partial(typer.Option, exists=True, dir_okay=False, readable=True)


class Until(StrEnum):
    """Where to stop."""

    CONFIRMED = "confirmed"
    EMAILED = "emailed"

    @property
    def state(self) -> api.State.ValueType:
        """The same, as the API says it."""
        return api.STATE_EMAILED if self is Until.EMAILED else api.STATE_CONFIRMED


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway is, and how we show each other who we are."""

    target: str
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return what the connection needs; None: it is not encrypted."""
        is_encrypted = self.tls or self.ca or self.cert
        return credentials(self.ca, self.cert, self.key) if is_encrypted else None

    def words(self) -> list[str]:
        """Return the options that lead there again."""
        given = {"target": self.target, "ca": self.ca, "cert": self.cert, "key": self.key}
        words = [word for name, v in given.items() if v for word in (f"--{name}", str(v))]
        return [*words, "--tls"] if self.tls else words


def local_gateway() -> str:
    """Return where the gateway of this machine listens."""
    return f"127.0.0.1:{os.environ.get('SEAWAY_GRPC_PORT', '50051')}"


def sign_up(
    email: Annotated[str, typer.Option(help="The address to sign up.")],
    name: Annotated[str, typer.Option(help="What to call this person: 1 to 100 characters.")],
    locale: Annotated[str, typer.Option(help="A language tag such as en or de-AT.")] = "",
    request_id: Annotated[
        str,
        typer.Option(help="A UUID of an earlier attempt, to get its answer. New if not given."),
    ] = "",
    reveal_taken: Annotated[
        bool, typer.Option("--reveal-taken", help="Say so if the address is taken: exit code 4.")
    ] = False,
    until: Annotated[Until, typer.Option(help="Where to stop.")] = Until.CONFIRMED,
    target: Annotated[
        str, typer.Option(help="HOST:PORT of a gateway. That of `seaway dev` if not given.")
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt, and trust whom the system trusts.")
    ] = False,
    ca: Annotated[
        Path | None, A_FILE("--ca", help="Encrypt, and trust these authorities.")
    ] = None,
    cert: Annotated[
        Path | None, A_FILE("--cert", help="Our certificate, for --reveal-taken.")
    ] = None,
    key: Annotated[Path | None, A_FILE("--key", help="… and its key.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the end.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Sign somebody up, and print each update as it comes.

    Asks again and resumes by itself. Exit codes: 0 confirmed, 1 refused, 2 usage, 3 not known
    yet (the command that asks again is printed), 4 rejected (only with --reveal-taken).
    """
    request = api.SignUpRequest(
        request_id=request_id or str(uuid4()),
        email=email,
        display_name=name,
        locale=locale,
        reveal_taken=reveal_taken,
        until=until.state,
    )
    if bool(cert) != bool(key):
        raise typer.BadParameter("a certificate needs its key, and a key its certificate")
    door = Door(target, tls, ca, cert, key)
    client = Client(target or local_gateway(), request, door.credentials())
    try:
        code = asyncio.run(_follow(client, timeout, _as_json if as_json else _as_line))
    except Refused as refused:
        _complain(*refused.lines)
        code = REFUSED
    except (TimeoutError, KeyboardInterrupt):
        _complain(f"not known yet ({client.said}); to ask again:", f"  {_again(request, door)}")
        code = UNKNOWN
    raise typer.Exit(code)


async def _follow(client: Client, timeout: float, shown: Callable[[api.SignUpUpdate], str]) -> int:
    code = 0
    async with asyncio.timeout(timeout), aclosing(client.updates()) as updates:
        async for update in updates:
            print(shown(update), flush=True)
            if update.state == api.STATE_REJECTED:
                code = REJECTED
    return code


def _as_line(update: api.SignUpUpdate) -> str:
    at = update.at.ToDatetime().isoformat(timespec="milliseconds")
    state = api.State.Name(update.state).removeprefix("STATE_")
    return f"{state:<10} {at}Z  {update.request_id}  {update.reason}".rstrip()


def _as_json(update: api.SignUpUpdate) -> str:
    return json.dumps(MessageToDict(update, preserving_proto_field_name=True))


def _again(request: api.SignUpRequest, door: Door) -> str:
    words = ["seaway", "sign-up", "--email", request.email, "--name", request.display_name]
    words += ["--locale", request.locale] if request.locale else []
    words += ["--request-id", request.request_id]
    words += ["--reveal-taken"] if request.reveal_taken else []
    words += ["--until", "emailed"] if request.until == api.STATE_EMAILED else []
    return shlex.join([*words, *door.words()])


def _complain(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)
