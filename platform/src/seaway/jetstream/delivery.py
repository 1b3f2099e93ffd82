"""Pulling from a durable: what was handed over, and how to ask for more."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from seaway.broker import Delivery, Headers
from seaway.errors import BrokerUnavailable, DurableGone
from seaway.jetstream.connection import LOST, Connection

GRACE = 0.5
"""Seconds that we wait beyond what the broker was asked to wait, and for what follows a message.

The broker says when no more follow, but not of a durable that has as much in hand as it may.
"""
PAUSE = 0.05
"""Seconds until a broker that is away may be asked again."""
CLOSE_WITHIN = 3.0


@dataclass(frozen=True, slots=True)
class JetStreamDelivery:
    """A message from a durable. Its reply subject says everything about it."""

    connection: Connection
    subject: str
    data: bytes
    headers: Headers
    reply: str
    sequence: int
    attempt: int
    at: datetime

    @classmethod
    def of(cls, connection: Connection, message: Msg) -> Self:
        """Read the reply subject, in the form without a domain and the one with."""
        match message.reply.split("."):
            case ["$JS", "ACK", _, _, attempt, sequence, _, at, _]:
                pass
            case ["$JS", "ACK", _, _, _, _, attempt, sequence, _, at, *_]:
                pass
            case _:
                raise BrokerUnavailable(f"not a JetStream delivery: {message.reply!r}")
        return cls(
            connection=connection,
            subject=message.subject,
            data=message.data,
            headers=message.headers or {},
            reply=message.reply,
            sequence=int(sequence),
            attempt=int(attempt),
            at=datetime.fromtimestamp(int(at) // 1000 / 1e6, UTC),
        )

    async def ack(self) -> None:
        """Say that it is done with. A killed broker forgets the last ones and repeats them."""
        await self.connection.send(self.reply, b"+ACK")

    async def nak(self, delay: float = 0.0) -> None:
        """Ask for it again after `delay` seconds."""
        after = json.dumps({"delay": int(delay * 1e9)}).encode()
        await self.connection.send(self.reply, b"-NAK " + after if delay else b"-NAK")

    async def term(self, reason: str) -> None:
        """Ask never to see it again. `reason` is a fixed code, for the broker's advisory."""
        await self.connection.send(self.reply, b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        """Start the ack wait anew."""
        await self.connection.send(self.reply, b"+WPI")


@dataclass(slots=True)
class JetStreamPull:
    """One worker's hold on a durable.

    Each fetch has a reply subject of its own, so that the end of an earlier one is not taken
    for the end of this one. A message that comes late is handed over by the next fetch.
    """

    connection: Connection
    stream: str
    durable: str
    _came: asyncio.Queue[Msg | None] = field(default_factory=asyncio.Queue)
    """None wakes whoever waits."""
    _collected: list[Delivery] = field(default_factory=list)
    """Handed over by the broker and not yet by us: an error in between loses none."""
    _inbox: str = ""
    _subscription: Subscription | None = None
    _asked: int = 0
    _closed: bool = False
    _undo: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._inbox = self.connection.new_inbox()
        self._undo = self.connection.when_back(self._wake)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, up_to: int, wait: float) -> Sequence[Delivery]:
        """Return what is waiting, at most `up_to`; if nothing is, wait for it for `wait` seconds.

        Returns an empty sequence while the broker is away, and at once after a reconnect.
        Raises DurableGone.
        """
        try:
            await self._listen(wait)
            # With both, the broker waits only while it has nothing, and then says "no more".
            expires = {"expires": int(wait * 1e9)} if wait else {}
            await self._ask(up_to, {"no_wait": True, **expires}, wait)
        except BrokerUnavailable:
            # A connection that is just being lost refuses at once. Whoever then asks again at
            # once leaves no turn to those who would make it anew.
            await asyncio.sleep(PAUSE)
        taken, self._collected = self._collected[:up_to], self._collected[up_to:]
        return taken

    async def close(self) -> None:
        """Fetch no more; what came but was not fetched goes back at once."""
        if self._closed:
            return
        self._closed = True
        self._undo()
        self._wake()
        if self._subscription is not None:
            with suppress(*LOST, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        self._collect(self._came.qsize())
        with suppress(BrokerUnavailable):
            for delivery in self._collected:
                await delivery.nak()

    async def _listen(self, wait: float) -> None:
        if self._subscription is not None and self.connection.up.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self.connection.up.wait()
        if self._subscription is None:
            self._subscription = await self.connection.subscribe(f"{self._inbox}.*", self._take)

    async def _take(self, message: Msg) -> None:
        self._came.put_nowait(message)

    def _wake(self) -> None:
        # A request that was open when the broker went is gone with it: ask again.
        self._came.put_nowait(None)

    async def _ask(self, up_to: int, question: dict[str, Any], wait: float) -> None:
        """Collect until there are so many, or the broker says that there are no more."""
        self._collect(up_to - len(self._collected))
        missing = up_to - len(self._collected)
        if self._closed or missing <= 0:
            return
        self._asked += 1
        reply = f"{self._inbox}.{self._asked}"
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}"
        data = json.dumps({"batch": missing, **question}).encode()
        await self.connection.send(subject, data, reply=reply)
        began, had, ended = time.monotonic(), len(self._collected), False
        try:
            with suppress(TimeoutError):
                while len(self._collected) < up_to and not ended:
                    message = await self._next(GRACE if self._collected else wait + GRACE)
                    ended = message is None or self._ends(message, reply)
                    self._keep(message)
        finally:
            in_vain = not ended and len(self._collected) == had
            await self.connection.asked(began, in_vain=in_vain)

    async def _next(self, within: float) -> Msg | None:
        if not self._came.empty():
            return self._came.get_nowait()
        async with asyncio.timeout(within):
            return await self._came.get()

    def _ends(self, message: Msg, reply: str) -> bool:
        """Whether this is the answer "no more" to the question on `reply`. Raises DurableGone."""
        status = _status(message)
        if not status or message.subject != reply:
            return False
        said = (message.headers or {}).get("Description", "")
        if status == "503" or said == "Consumer Deleted":
            raise DurableGone(f"stream {self.stream} has no durable {self.durable}")
        return True

    def _collect(self, most: int) -> None:
        """Collect what came meanwhile, without waiting."""
        while most > 0 and not self._came.empty():
            most -= self._keep(self._came.get_nowait())

    def _keep(self, message: Msg | None) -> bool:
        """Collect this, if it is a delivery; return whether it was."""
        if message is None or _status(message):
            return False
        self._collected.append(JetStreamDelivery.of(self.connection, message))
        return True


def _status(message: Msg) -> str:
    return "" if message.reply else (message.headers or {}).get("Status", "")
