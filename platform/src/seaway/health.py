"""What a process serves on its metrics port: /metrics, /livez, /readyz, and what else it tells.

Live means: the event loop turns and the broker's client works. Ready means: it can do its job
now. A dependency is never part of liveness, or its outage would restart every service.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from prometheus_client import make_asgi_app

from seaway.errors import SeawayError

type Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, in one sentence, or nothing."""

type Tell = Callable[[Mapping[str, str]], AsyncIterator[str]]
"""Yields lines for what was asked. Raises ValueError if it cannot be asked so."""

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CHECK_WITHIN = 2.0
STOP_WITHIN = 1
LINES_AT_ONCE = 500


@dataclass(slots=True)
class Health:
    """What has to be so for a process to be live, and to be ready."""

    live: dict[str, Check] = field(default_factory=dict)
    ready: dict[str, Check] = field(default_factory=dict)
    tells: dict[str, Tell] = field(default_factory=dict)
    """What else is told on this port, by path."""

    async def wrong(self, checks: dict[str, Check]) -> dict[str, str]:
        """Return what is wrong, by check. A check that takes more than 2 s is wrong."""
        answers = await asyncio.gather(*(self._ask(check) for check in checks.values()))
        return {name: said for name, said in zip(checks, answers, strict=True) if said}

    async def _ask(self, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                return await check()
        except TimeoutError:
            return f"no answer within {CHECK_WITHIN:.0f} s"


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: SIGTERM is answered in one place, in `seaway.process`."""
        yield


@asynccontextmanager
async def serving(health: Health, host: str, port: int) -> AsyncIterator[int]:
    """Serve a process's health; yields the port, which is a free one if `port` is 0.

    Raises OSError if the port is taken.
    """
    listening = socket.create_server((host, port), reuse_port=False)
    config = uvicorn.Config(
        application(health),
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=STOP_WITHIN,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await task


def application(health: Health) -> Application:
    """Return the ASGI application that answers on the metrics port."""
    metrics = make_asgi_app()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/metrics":
                await metrics(scope, receive, send)
            case "/livez":
                await _say(send, await health.wrong(health.live))
            case "/readyz":
                await _say(send, await health.wrong(health.live | health.ready))
            case path if path in health.tells:
                asked = dict(parse_qsl(scope["query_string"].decode("ascii", "replace")))
                await _tell(send, health.tells[path](asked))
            case path:
                here = ", ".join(("/metrics", "/livez", "/readyz", *health.tells))
                await _say(send, {path: f"is not here: {here}"}, 404)

    return answer


async def _say(send: Send, wrong: dict[str, str], status: int = 503) -> None:
    body = json.dumps({"ok": not wrong, "wrong": wrong}).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    status = status if wrong else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _tell(send: Send, lines: AsyncIterator[str]) -> None:
    """Send lines as they come, never many at once. A failure in the middle is the last line."""
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/x-ndjson")],
    }
    held: list[str] = []
    try:
        async for line in lines:
            held.append(line + "\n")
            if len(held) == LINES_AT_ONCE:
                start = await _send_on(send, start, held)
    except (ValueError, SeawayError) as error:
        if start:  # nothing was sent yet
            status = 400 if isinstance(error, ValueError) else 503
            await _say(send, {"question": str(error)}, status)
            return
        held.append(json.dumps({"error": str(error)}) + "\n")
    await _send_on(send, start, held)
    await send({"type": "http.response.body", "body": b""})


async def _send_on(send: Send, start: dict[str, Any], held: list[str]) -> dict[str, Any]:
    """Send what is held, after `start` if that has not been sent; nothing is left of either."""
    if start:
        await send(start)
    await send({"type": "http.response.body", "body": "".join(held).encode(), "more_body": True})
    held.clear()
    return {}
