"""The mail server of `seaway dev`: takes every mail, and keeps it as a file. Nothing goes out.

    python -m seaway.dev.mail_catcher

It is a process like every service's, so `seaway dev` starts, asks and stops it like one; only
it listens to no message.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import Field

from seaway.process import Process, serve
from seaway.service import Service
from seaway.settings import Settings

FOLDER = ".seaway/mail"


class MailCatcherSettings(Settings):
    """Every process's settings, and where the mail is taken and kept."""

    smtp_port: int = Field(1025, ge=0, le=65535, description="where it takes mail")
    mail_folder: Path = Field(Path(FOLDER), description="where it keeps it")


class MailCatcher:
    """Takes mail for everybody while the context lasts, on 127.0.0.1 only."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._kept = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; raises OSError if the port is taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        taking = SimpleNamespace(handle_DATA=self.take)  # aiosmtpd looks for that name
        self._server = await loop.create_server(
            lambda: SMTP(taking, loop=loop, hostname="mail-catcher", enable_SMTPUTF8=True),
            "127.0.0.1",
            self.port,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more."""
        if self._server is not None:
            self._server.close()

    async def take(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep a mail; it is there, whole, before we say so. Return what the sender is told."""
        self._kept += 1
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{self._kept}"
        content = envelope.original_content or b""
        await asyncio.to_thread(self._keep, name, content)
        return f"250 OK: kept as {name}"

    def _keep(self, name: str, content: bytes) -> None:
        unfinished = self._folder / f"{name}.part"
        unfinished.write_bytes(content)
        unfinished.rename(unfinished.with_suffix(".eml"))


def build(process: Process) -> Service:
    """Take mail, and listen to nothing else."""
    settings = process.settings(MailCatcherSettings)
    process.during(MailCatcher(settings.smtp_port, settings.mail_folder))
    return Service("mail-catcher")


if __name__ == "__main__":
    serve("mail-catcher", build)
