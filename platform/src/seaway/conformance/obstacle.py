"""What keeps a program from getting done, from outside: it waits, then it fails or goes on.

Handling a message ends with something that others have to confirm: the broker that it has a reply,
or a dependency that it has done something. Here that is held back.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from seaway.conformance.promise import NotTried
from seaway.conformance.tap import Said, Tap
from seaway.errors import BrokerUnavailable, SettingsError
from seaway.jetstream import JetStream
from seaway.jetstream.starting import answered
from seaway.topology import Config

log = structlog.get_logger("seaway.conformance")

FULL = json.dumps({"error": {"code": 503, "err_code": 10023, "description": "no room"}}).encode()
"""How a broker refuses a message that it has no room for."""
CHUNK = 65536


class Obstacle(Protocol):
    """Something that a program cannot get done without."""

    what: str
    """What it is, for a sentence."""

    @property
    def met(self) -> int:
        """How often the program has come up against it since it was held."""

    async def hold(self) -> None:
        """Answer nothing from now on, and refuse nothing."""

    async def refuse(self) -> None:
        """Refuse what waits, and all that follows."""

    async def release(self) -> None:
        """Let through what waits, late, and everything else as ever."""


@dataclass(slots=True)
class Receipts:
    """The broker's receipts for what the program says.

    The stream gives up the subjects of replies, and we stand in for it.
    """

    broker: JetStream
    tap: Tap
    stream: str
    kept: tuple[str, ...]
    """Subjects that the stream keeps meanwhile: those of what the program is given."""
    what: str = "the broker's receipt for its reply"
    _whole: Config | None = None
    _waiting: list[Said] = field(default_factory=list)
    _refusing: bool = False
    _met: int = 0

    @property
    def met(self) -> int:
        """How many messages it has said since receipts are held."""
        return self._met

    async def hold(self) -> None:
        """Answer nothing from now on, and refuse nothing."""
        if not self.tap.said:
            raise NotTried("it says nothing and calls nobody: give --dependency HOST:PORT")
        self._met = 0
        if self._whole is None:
            self._whole = (await self.broker.streams())[self.stream].config
        self.tap.hold = self._take
        await self._put({**self._whole, "subjects": list(self.kept)})

    async def refuse(self) -> None:
        """Refuse what waits, and all that follows."""
        self._refusing = True
        waiting, self._waiting = self._waiting, []
        for said in waiting:
            await self._take(said)

    async def _put(self, config: Config) -> None:
        # The machine may be slow. What was begun is to be ended, or all that follows fails too.
        await answered(self.broker, lambda: self.broker.put_stream(config), log.info)

    async def release(self) -> None:
        """Store what waits, and give the receipts."""
        self.tap.hold, self._refusing = None, False
        if self._whole is not None:
            await self._put(self._whole)
            self._whole = None
        waiting, self._waiting = self._waiting, []
        for said in waiting:
            if said.reply:
                receipt = await self.broker.connection.request(
                    said.subject, said.body, said.headers
                )
                await self.broker.connection.send(said.reply, receipt.data)
            else:  # a member of a batch, of which the last one waits
                await self.broker.connection.send(said.subject, said.body, said.headers)

    async def _take(self, said: Said) -> None:
        if any(said.subject.startswith(kept.removesuffix("*")) for kept in self.kept):
            return
        if self._refusing:
            if said.reply:
                await self.broker.connection.send(said.reply, FULL)
        else:
            self._met += 1
            self._waiting.append(said)


@dataclass(slots=True)
class Door:
    """The way to a dependency: a port of ours, behind which it is."""

    host: str
    port: int
    tap: Tap
    what: str = "an answer of its dependency"
    ours: int = 0
    """Where the program finds it."""
    sent: int = 0
    """Bytes that have gone through to the dependency."""
    _met: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _shut: bool = False
    _inside: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def met(self) -> int:
        """How often it has come, or said something, since the door was held."""
        return self._met

    async def hold(self) -> None:
        """Answer nothing from now on, and refuse nothing."""
        self._met = 0
        self._open.clear()

    async def refuse(self) -> None:
        """Refuse what waits, and all that follows."""
        self._shut = True
        for connection in tuple(self._inside):
            connection.cancel()

    async def release(self) -> None:
        """Let through what waits, late, and everything else as ever."""
        self._shut = False
        self._open.set()

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection of the program through."""
        if self._shut:
            return writer.transport.abort()
        self._note()
        connection = asyncio.create_task(self._through(reader, writer))
        self._inside.add(connection)
        try:
            await asyncio.wait({connection})
        finally:
            self._inside.discard(connection)
            connection.cancel()
            writer.transport.abort()
        return None

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, onward = await asyncio.open_connection(self.host, self.port)
            coming = asyncio.create_task(self._pass(there, writer))
            try:
                while chunk := await reader.read(CHUNK):
                    self._note()
                    await self._open.wait()
                    onward.write(chunk)
                    self.sent += len(chunk)
                    await onward.drain()
                onward.write_eof()
                await coming
            finally:
                coming.cancel()
                onward.transport.abort()

    async def _pass(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await there.read(CHUNK):
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()
            # To hang up is an answer, too. A server does so that hears nothing for a while.
            await self._open.wait()
            writer.write_eof()

    def _note(self) -> None:
        self._met += 1
        self.tap.stir()


@asynccontextmanager
async def door_to(dependency: str, tap: Tap) -> AsyncIterator[Door]:
    """Open a door to HOST:PORT at a port of ours, for as long as the context lasts.

    Raises SettingsError if nobody is behind it.
    """
    host, _, port = dependency.rpartition(":")
    door = Door(host, int(port), tap)
    try:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
    except OSError as error:
        raise SettingsError(f"nobody listens on {dependency}: start the dependency") from error
    await door.release()
    server = await asyncio.start_server(door.enter, "127.0.0.1", 0)
    door.ours = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        await door.refuse()


async def lifted(obstacle: Obstacle) -> None:
    """Put everything back, whatever has happened meanwhile."""
    with suppress(BrokerUnavailable):
        await obstacle.release()
