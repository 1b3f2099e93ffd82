"""How other commands talk to a running `seaway dev`: one JSON line each way, on a Unix socket."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from seaway.dev.folder import NAME, SOCKET

PATIENCE = 60.0
"""Seconds a command waits for an answer: a service may take long to become ready."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a running `seaway dev`."""

    verb: Literal["start", "stop", "environment"]
    service: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it did, in words."""

    done: bool
    text: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Where the broker and the served ports are, as settings."""


@asynccontextmanager
async def listening(
    folder: Path, answer: Callable[[Request], Awaitable[Answer]]
) -> AsyncIterator[None]:
    """Answer requests for as long as the context lasts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = Request(**json.loads(await reader.readline()))
            writer.write(json.dumps(asdict(await answer(request))).encode() + b"\n")
            await writer.drain()
        except (ValueError, TypeError, ConnectionError):
            return  # not one of our commands, or it did not wait
        finally:
            writer.close()

    path = folder / SOCKET
    server = await asyncio.start_unix_server(serve, path=_short(path))
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask(root: Path, request: Request) -> Answer | None:
    """Ask the `seaway dev` that runs in this folder; None if none does."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(_short(root / NAME / SOCKET))
            connection.sendall(json.dumps(asdict(request)).encode() + b"\n")
            with connection.makefile() as lines:
                return Answer(**json.loads(lines.readline()))
    except (OSError, ValueError):
        return None


def _short(path: Path) -> str:
    """Return the shorter way to say it: the name of a socket has at most about 100 bytes."""
    return min(str(path), os.path.relpath(path), key=len)
