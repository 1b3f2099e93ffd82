"""The one connection of a process to the broker, and what keeps it honest.

Every setting here answers something that was measured (docs/decisions/0005): the client closes
for good after 60 failed attempts by default, buffers what it could not send and stores it later,
and can lose its read loop while it says that it is connected.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import structlog
from nats.aio.client import Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError, SlowConsumerError

from seaway.broker import Headers
from seaway.errors import BrokerUnavailable
from seaway.jetstream.client import OurClient
from seaway.jetstream.headers import written
from seaway.telemetry import RECONNECTS

log = structlog.get_logger("seaway.jetstream")

LOOK_EVERY = 1.0
"""Seconds after which it is seen at the latest that the client has closed without a word."""
ASK_EVERY = 10.0
"""Seconds after which the broker is asked whether it is there."""
SILENT_AFTER = 30.0
CLOSE_WITHIN = 3.0
FLUSH_WITHIN = 2
CONNECT_WITHIN = 2.0
IN_VAIN = 10.0
"""Seconds without an answer to anything, after which another broker of a cluster is tried."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 2.0
"""Seconds before a broker is tried anew, at most: twice as long each time. How long of it the
dice say, or all services would come back to a broker that was restarted at the same instant."""
CANNOT = re.compile(rb'"err_code":1000[89]\b')
"""How a broker answers that has lost the others of its cluster."""
LOST = (NatsError, OSError, AttributeError, TypeError)
"""What the client raises when it cannot send. On a socket that was closed a moment ago asyncio
raises the last two (tried), which the client catches in its own tasks only."""
SECRET = re.compile(r"//[^/@]*@")
"""Who we are to the broker, if the URL says so: `nats://user:password@host`."""


class Connection:
    """A connection that is made in the background and made again for as long as it is wanted.

    Creating it does nothing; enter its context to begin. While the broker is away every call
    raises BrokerUnavailable at once, so that the caller decides what to do meanwhile.
    """

    def __init__(self, url: str, name: str, credentials_file: str = "") -> None:
        self.name = name
        self.closed = asyncio.Event()
        """Set when the client has given up for good. The process should end."""
        self.up = asyncio.Event()
        """Set while the broker is there."""
        self._urls = [each.strip() for each in url.split(",")]
        self.where = ", ".join(SECRET.sub("//", each) for each in self._urls)
        """The broker's addresses without a password, for people."""
        self._credentials_file = credentials_file
        self._client = OurClient()
        self._heard_at = time.monotonic()
        self._leaving = False
        self._last_error = ""
        self._tries = 0
        """To connect anew, since it was last connected."""
        self._at = ""
        """The broker that was tried last: its host and port."""
        self._in_vain_since: float | None = None
        """When the first request was made of those since which none was answered."""
        self._tasks: list[asyncio.Task[None]] = []
        self._when_back: list[Callable[[], None]] = []
        self._waiting: set[asyncio.Timeout] = set()
        """Requests without an answer yet."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._connect()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.up.clear()
        with suppress(*LOST, AssertionError, TimeoutError):  # AssertionError: it never began
            async with asyncio.timeout(CLOSE_WITHIN):
                if self._client.is_connected:
                    await self._client.flush()
                await self._client.close()
        # nats-py may die while it closes, and then leaves its socket open.
        if (socket := self._client._transport) is not None:
            socket.close()  # type: ignore[no-untyped-call]

    @property
    def alive(self) -> bool:
        """Whether the client still works: not closed, and heard from lately or reconnecting."""
        silent = time.monotonic() - self._heard_at > SILENT_AFTER
        return not self.closed.is_set() and not (self._client.is_connected and silent)

    def when_back(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call this after each reconnect and when messages were dropped; returns the undoing."""
        self._when_back.append(call)
        return lambda: self._when_back.remove(call)

    def new_inbox(self) -> str:
        """Return a subject on which only this connection listens."""
        return self._client.new_inbox()

    async def send(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = ""
    ) -> None:
        """Hand a message to the socket. Raises BrokerUnavailable: nothing is kept for later."""
        try:
            await self._client.publish(
                subject, data, reply=reply, headers=written(headers) if headers else None
            )
        except LOST as error:
            raise BrokerUnavailable(f"cannot send to {self.where}: {error!r}") from error

    async def request(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, wait: float = 5.0
    ) -> Msg:
        """Send and return the answer.

        Raises BrokerUnavailable if none comes in `wait` seconds, and as soon as the connection
        is lost on which it would have come.
        """
        if not self._client.is_connected:  # the client would never forget that it was asked
            raise BrokerUnavailable(f"not connected: {self.where}")
        patience, began, vain = asyncio.timeout(wait), time.monotonic(), True
        self._waiting.add(patience)
        try:
            async with patience:
                answer = await self._client.request(
                    subject, data, timeout=wait, headers=written(headers) if headers else None
                )
            vain = CANNOT.search(answer.data) is not None
            return answer
        except NoRespondersError as error:
            raise BrokerUnavailable(f"nobody answers on {subject}") from error
        except (*LOST, TimeoutError) as error:
            raise BrokerUnavailable(f"no answer on {subject}: {error!r}") from error
        finally:
            self._waiting.discard(patience)
            await self.asked(began, in_vain=vain)

    async def ask(self, subject: str, question: Mapping[str, Any] | None = None) -> Any:
        """Call JetStream's API and return its answer, errors included, as JSON."""
        data = json.dumps(question).encode() if question is not None else b""
        return json.loads((await self.request(f"$JS.API.{subject}", data)).data)

    async def asked(self, began: float, *, in_vain: bool) -> None:
        """Note whether a request was answered, and leave a broker of a cluster that answers none.

        Its clients' connections are well, if it is the others of the cluster whom it has lost.
        """
        if not in_vain:
            self._in_vain_since = None
            return
        self._in_vain_since = min(began, self._in_vain_since or began)
        since = time.monotonic() - self._in_vain_since
        if since > IN_VAIN and self._client.is_connected and len(self._client.servers) > 1:
            at = self._at.rpartition("@")[2]  # without a password
            log.warning("this broker answers nothing, trying another one", at=at)
            await self._client.force_reconnect()

    async def heard_so_far(self, within: int = FLUSH_WITHIN) -> None:
        """Return when the broker has read what was sent, or is away: then it is sent again."""
        with suppress(*LOST):
            # nats-py's ping overtakes what it has not yet written to the socket, a subscription
            # for one. When the first is answered, all of that is written; so once more.
            for _ in range(2):
                await self._client.flush(timeout=within)

    async def subscribe(
        self, subject: str, heard: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Listen on a subject, across reconnects. Raises BrokerUnavailable."""
        try:
            return await self._client.subscribe(subject, cb=heard)
        except LOST as error:
            raise BrokerUnavailable(f"cannot listen on {subject}: {error!r}") from error

    async def _connect(self) -> None:
        ours = self._credentials_file
        is_key = bool(ours) and _is_seed(ours)
        await self._client.connect(
            self._urls,
            name=self.name,
            user_credentials=None if is_key else ours or None,
            nkeys_seed=ours if is_key else None,
            inbox_prefix=f"_INBOX_{self.name}",
            connect_timeout=CONNECT_WITHIN,  # type: ignore[arg-type]  # seconds; a float will do
            max_reconnect_attempts=-1,
            reconnect_time_wait=random.uniform(0.2, 1.0),  # type: ignore[arg-type]
            reconnect_to_server_handler=self._next_try,
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=-1,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )
        self._heard_at = time.monotonic()
        self._at = self._client.connected_url.netloc if self._client.connected_url else ""
        self.up.set()
        log.info("connected to the broker", url=self.where)

    def _next_try(
        self, brokers: Sequence[Server], _: Mapping[str, Any]
    ) -> tuple[Server | None, float]:
        """Say which broker is tried next, and after how many seconds: the others, each in turn."""
        others = [broker for broker in brokers if broker.uri.netloc != self._at] or brokers
        chosen = others[self._tries % len(others)]
        rounds, self._tries = self._tries // len(brokers), self._tries + 1
        self._at = chosen.uri.netloc
        return chosen, random.uniform(0, min(FIRST_WAIT * 2**rounds, LONGEST_WAIT))

    async def _watch(self) -> None:
        await asyncio.wait(self._tasks[:1])  # until then the client closes after each try
        asked_at = time.monotonic()
        while not self._client.is_closed and not self._has_died():
            if self._client.is_connected and time.monotonic() - asked_at > ASK_EVERY:
                await self._ask_for_life()
                asked_at = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)
        # nats-py may die while it closes (it writes to a socket that is gone), and calls nobody.
        await self._on_closed()

    def _has_died(self) -> bool:
        """Whether the task has in which the client connects, as it does of a torn credential."""
        task = self._client._reconnection_task or self._tasks[0]
        if self._client.is_connected or not task.done():
            return False
        log.error("cannot connect", error=repr(task.cancelled() or task.exception()))
        return True

    async def _ask_for_life(self) -> None:
        try:
            await self._client.rtt(timeout=5)
            self._heard_at = time.monotonic()
        except (*LOST, TimeoutError):
            log.warning("the broker is silent, connecting anew")
            await self._client.force_reconnect()

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._tell_back()
        if repr(error) != self._last_error:
            log.warning("broker connection", error=repr(error))
        self._last_error = repr(error)

    async def _on_disconnected(self) -> None:
        if self.up.is_set():
            self.up.clear()
            log.warning("the broker is away")
        # Their answers went with the connection. Not to wait for them made the stall after a
        # killed broker 1 to 2 s instead of 5.
        for patience in self._waiting:
            if not patience.expired():  # or it raises, and the client would never connect anew
                patience.reschedule(asyncio.get_running_loop().time())

    async def _on_reconnected(self) -> None:
        self._heard_at = time.monotonic()
        self._last_error = ""
        self._tries, self._in_vain_since = 0, None
        self.up.set()
        self._tell_back()
        RECONNECTS.labels(self.name).inc()
        log.info("the broker is back")

    async def _on_closed(self) -> None:
        self.up.clear()
        if not self._leaving:
            self.closed.set()

    def _tell_back(self) -> None:
        for call in tuple(self._when_back):
            call()


def _is_seed(path: str) -> bool:
    """Whether a file holds an nkey's seed and nothing else, rather than a signed credential."""
    try:
        return Path(path).read_bytes().strip().startswith(b"SU")
    except OSError:
        return False
