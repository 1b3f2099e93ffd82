"""A program that abuses a gateway in every way at once, for so many seconds; prints its counts.

    python tests/support/abuse.py <gRPC port> <web port> <seconds>

A process of its own, so that whoever measures a legitimate client is not slowed down by it.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from uuid import uuid4

from acme.gateway.v1 import GetSignUpRequest, SignUpRequest, WatchSignUpRequest
from h2.exceptions import ProtocolError
from raw_http2 import PATH, raw

RESETS_A_SECOND = 2050
"""A few more than the 2,000 that are wanted: the last ones come too late to be counted."""
RESETTING = 2
"""Connections that do so."""
IDLE = (50, 20)
"""Connections, and calls on each whose request never comes."""
LARGE = 3_000_000
LARGE_EVERY = 0.1
A_ROUND = 0.02


async def resets(port, until, done):
    """Calls that are given up as soon as they are made; what came too late is made up for."""
    request = GetSignUpRequest(request_id=str(uuid4()))
    began, sent = time.monotonic(), 0
    async with raw(port) as connection:
        while (now := time.monotonic()) < until and connection.is_open:
            due = int((now - began) * RESETS_A_SECOND / RESETTING)
            for _ in range(due - sent):
                connection.reset(connection.begin("GetSignUp", request))
            done["resets"], sent = done["resets"] + due - sent, due
            await connection.flush()
            await asyncio.sleep(A_ROUND)


async def idle(port, until, done):
    """Calls without a request, and others in the place of those that the server ends."""
    async with raw(port) as connection:
        mine = 0
        while time.monotonic() < until and connection.is_open:
            while mine - len(connection.ended) < IDLE[1]:
                connection.begin("SignUp")
                mine += 1
            await connection.flush()
            await asyncio.sleep(0.1)
        done["idle"] += mine
        done["idle_ended"] += len(connection.ended)


async def large(port, until, done):
    """Three megabytes each tenth of a second, as fast as the server takes them."""
    request = SignUpRequest(display_name="x" * LARGE).SerializeToString()
    frame = b"\0" + len(request).to_bytes(4) + request
    while time.monotonic() < until:
        async with raw(port) as connection:
            stream, sent = connection.begin("SignUp"), 0
            while sent < len(frame) and stream not in connection.ended and connection.is_open:
                if room := connection.room(stream):
                    connection.send(stream, frame[sent : sent + room])
                    sent += room
                    await connection.flush()
                await asyncio.sleep(0.001)
        done["large"] += 1
        await asyncio.sleep(LARGE_EVERY)


async def large_by_web(port, until, done):
    """The same in HTTP/1.1."""
    head = f"POST {PATH}GetSignUp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    while time.monotonic() < until:
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{head}content-length: {LARGE}\r\n\r\n".encode())
            for _ in range(LARGE // 50_000):
                writer.write(b" " * 50_000)
                await writer.drain()
            await reader.read(100)
            writer.close()
        done["large_by_web"] += 1
        await asyncio.sleep(LARGE_EVERY)


async def slow(port, until, done):
    """Watchers that never read what they are told."""
    async with raw(port, listens=False) as connection:
        for _ in range(20):
            connection.begin("WatchSignUp", WatchSignUpRequest(request_id=str(uuid4())))
        await connection.flush()
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        done["slow"] += 20


async def abused(port, web_port, seconds):
    done, until = Counter(), time.monotonic() + seconds
    ways = [resets(port, until, done) for _ in range(RESETTING)]
    ways += [idle(port, until, done) for _ in range(IDLE[0])]
    ways += [large(port, until, done), large_by_web(web_port, until, done)]
    ways += [slow(port, until, done)]
    for error in await asyncio.gather(*ways, return_exceptions=True):
        if isinstance(error, (ConnectionError, ProtocolError)):
            done["cut_off"] += 1  # the server's way to say that this is enough
        elif error is not None:
            raise error
    return done


if __name__ == "__main__":
    print(json.dumps(asyncio.run(abused(*map(int, sys.argv[1:])))))
