"""A bad network: a TCP proxy that delays, slices, swallows, holds back and resets.

async with Proxy(server.port) as link:      # services are told link.port instead
    link.delay = 0.5                        # seconds, each segment, both ways
    link.slice = 1                          # bytes that a segment has at most
    link.hold(TO_SERVER)                    # a partition in one direction; hold() is one in both
    link.heal()                             # what was held back goes on, as TCP would repeat it
    link.reset()                            # every connection is cut with RST
    link.lose_next(b'"seq":')               # swallow the next answer with these bytes, then reset
    link.lose_next(b"COMMIT", TO_SERVER)    # … the next question: the server never sees it
    link.overheard = []                     # segments that went to the server, from now on
    link.shut() / link.open()               # nobody gets in (connections are reset) / … again
"""

import asyncio
import socket
import struct
from contextlib import suppress

TO_SERVER, TO_CLIENT = "to the server", "to the client"
SEGMENT = 65536
SEGMENTS = 1000
"""How many are under way at most."""
IN_TURN = 64
"""Bytes after which another connection has its turn, one by one or not."""
RST = struct.pack("ii", 1, 0)


class Proxy:
    """Between clients and one server on the loopback address."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = 0
        self.delay = 0.0
        self.slice = SEGMENT
        self.resets = 0
        """Connections that were cut."""
        self.lost = 0
        """Answers and questions that were swallowed."""
        self.held = 0
        """Segments that came while their direction was held back."""
        self.delayed = 0
        self.overheard = None
        """Each segment that went to the server; if a list, from when it was set."""
        self._wanted = []
        self._ways = {TO_SERVER: asyncio.Event(), TO_CLIENT: asyncio.Event()}
        self._lines = {}
        self._server = None
        self._is_shut = False

    @property
    def connections(self):
        """How many are open."""
        return len(self._lines)

    async def __aenter__(self):
        self.heal()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        lines = list(self._lines)
        self.reset()
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    def hold(self, *directions):
        """Let nothing through, in these directions or in both; no connection is told."""
        for direction in directions or self._ways:
            self._ways[direction].clear()

    def heal(self):
        """Be a good network again."""
        self.delay, self.slice = 0.0, SEGMENT
        for way in self._ways.values():
            way.set()

    def reset(self):
        """Cut every connection."""
        for writers in list(self._lines.values()):
            self.resets += 1
            for writer in writers:
                _cut(writer)

    def shut(self):
        """Cut every connection and let none in."""
        self._is_shut = True
        self.reset()

    def open(self):
        """Let connections in again."""
        self._is_shut = False

    def lose_next(self, containing=b"", direction=TO_CLIENT):
        """Swallow the next segment that holds these bytes, and cut its connection."""
        self._wanted.append((direction, containing))

    async def _serve(self, reader, writer):
        line = asyncio.current_task()
        try:
            if self._is_shut:
                _cut(writer)
                return
            upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _cut(writer)
            return
        self._lines[line] = (writer, upstream[1])
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, sink, direction in (
                    (reader, upstream[1], TO_SERVER),
                    (upstream[0], writer, TO_CLIENT),
                ):
                    under_way = asyncio.Queue(SEGMENTS)
                    tasks.create_task(self._take(source, under_way))
                    tasks.create_task(self._pass(under_way, sink, direction))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            for each in self._lines.pop(line):
                _cut(each)

    async def _take(self, reader, under_way):
        # Many are under way at a time, as on a long line: a delay is none of the next one's.
        clock = asyncio.get_running_loop()
        while segment := await reader.read(SEGMENT):
            self.delayed += bool(self.delay)
            await under_way.put((clock.time() + self.delay, segment))
        await under_way.put((clock.time(), b""))

    async def _pass(self, under_way, writer, direction):
        way, clock = self._ways[direction], asyncio.get_running_loop()
        while True:
            due, segment = await under_way.get()
            if (early := due - clock.time()) > 0:
                await asyncio.sleep(early)
            if not segment:
                break
            if not way.is_set():
                self.held += 1
                await way.wait()
            if self._swallows(segment, direction):
                self.lost += 1
                self.resets += 1
                break
            if direction == TO_SERVER and self.overheard is not None:
                self.overheard.append(segment)
            await _write(writer, segment, self.slice)
        raise EOFError

    def _swallows(self, segment, direction):
        for wanted in self._wanted:
            if wanted[0] == direction and wanted[1] in segment:
                self._wanted.remove(wanted)
                return True
        return False


async def _write(writer, segment, size):
    """Write so many bytes at a time."""
    for start in range(0, len(segment), size):
        writer.write(segment[start : start + size])
        await writer.drain()
        if start % IN_TURN == 0:
            await asyncio.sleep(0)


def _cut(writer):
    """Close with RST: what is under way is gone, and the other end learns of it at once."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    writer.transport.abort()
