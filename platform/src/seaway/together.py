"""Storing together what many callers want stored at the same time.

The broker syncs its disk for each message that comes alone, and once for a batch. So whoever comes
while a batch is under way goes with the next one, and the slower the disk is, the more share a
sync. Who comes alone waits for nobody; the more company there was, the longer the next batch waits
for more.
"""

import asyncio
from contextlib import suppress

from seaway.broker import Broker, Conflict, Posting, Receipt
from seaway.errors import BrokerUnavailable, StreamFull

MOST = 256
"""Messages that go together."""
FOR_EACH, AT_MOST = 0.002, 0.06
"""Seconds for which the next batch waits: for each message of the last one, and in all.

A batch costs everybody whom it passes about as much for five messages as for twenty. So if fewer
go there is less to do, and p99 is lower, too, where there is much of it (docs/bench/notes.md).
"""
PATIENCE = 0.2
"""Seconds after which a batch goes although the one before has no answer yet.

A broker may lose one question and answer the next. With the time after which a question counts as
lost, this bounds how many batches are under way; a stream takes 50 at once.
"""

type Answered = asyncio.Future[Receipt | Conflict]


class Together:
    """Stores one message for each caller, beside those of others."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: list[tuple[Posting, Answered]] = []
        self._enough = asyncio.Event()
        """Whether a whole batch waits."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._awaited: asyncio.Task[None] | None = None
        """The batch for which those who wait let the next one wait."""

    async def publish(self, posting: Posting) -> Receipt | Conflict:
        """Store a message; raises what `Broker.publish` raises.

        Whoever gives up before the message is under way has stored nothing.
        """
        posting.check_size()
        answered: Answered = asyncio.get_running_loop().create_future()
        self._waiting.append((posting, answered))
        if len(self._waiting) >= MOST:
            self._enough.set()
        if self._awaited is None:
            self._leave()
        return await answered

    async def close(self) -> None:
        """Return when nothing is under way any more. Nobody is to call meanwhile."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _leave(self) -> None:
        batch = asyncio.create_task(self._store())
        self._awaited = batch
        self._under_way.add(batch)
        alarm = asyncio.get_running_loop().call_later(PATIENCE, self._go_on, batch)
        batch.add_done_callback(self._under_way.discard)
        batch.add_done_callback(self._go_on)
        batch.add_done_callback(lambda _: alarm.cancel())

    def _go_on(self, batch: asyncio.Task[None]) -> None:
        if self._awaited is batch:
            self._awaited = None
            if self._waiting:
                self._leave()

    async def _store(self) -> None:
        # Only now: those who called at the same moment as the first go with it.
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if len(self._waiting) < MOST:
            self._enough.clear()
        batch = [(posting, answered) for posting, answered in batch if not answered.done()]
        lost: BrokerUnavailable | StreamFull = BrokerUnavailable("cut off: it may be stored")
        try:
            answers = await self._broker.publish([posting for posting, _ in batch])
            for (_, answered), answer in zip(batch, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)
        except (BrokerUnavailable, StreamFull) as error:
            lost = error
        finally:
            for _, answered in batch:
                if not answered.done():
                    answered.set_exception(type(lost)(str(lost)))
        if len(batch) > 1:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(len(batch) * FOR_EACH, AT_MOST)):
                    await self._enough.wait()
