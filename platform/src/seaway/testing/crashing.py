"""A service killed at each named point of a message's life: real process, real broker.

    @pytest.mark.parametrize("crash", crash_points(), ids=str)
    async def test_everybody_is_written_down_once(crash, tmp_path):
        settings = {"SEAWAY_GUEST_BOOK": str(tmp_path / "guests")}
        async with killed_at(crash, ["python", "-m", "guest_book"], settings) as system:
            await system.send(confirmed("Ada"))
        assert len((tmp_path / "guests").read_text().splitlines()) == 1

The points of a subscription are in `seaway.failpoints`; a service may declare its own.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from seaway.broker import Conflict, Posting
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD, Letter
from seaway.envelope import Envelope, decode
from seaway.errors import BrokerUnavailable, ContractError
from seaway.failpoints import POINTS
from seaway.jetstream import JetStream
from seaway.testing.nats_server import nats_server
from seaway.testing.service_process import ServiceProcess
from seaway.topology import apply, declared

QUIET_WITHIN = 60.0
LOOK_EVERY = 0.02
SOON = 50_000_000
"""Nanoseconds of ack wait for what a dead process had in hand."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Where a process dies, and on how many deliveries of the same messages."""

    point: str
    deliveries: int = 1

    def __str__(self) -> str:
        """Return `U3x2` for a death at U3 on the first and on the second delivery."""
        return f"{self.point}x{self.deliveries}"


def crash_points(*points: str, deliveries: Sequence[int] = (1, 2)) -> list[Crash]:
    """Return every way to die at these points; without any, at those of a subscription."""
    chosen = points or tuple(point for point in POINTS if point.startswith("U"))
    return [Crash(point, delivery) for point in chosen for delivery in deliveries]


@dataclass(slots=True)
class CrashTest:
    """A broker, and one service that is going to die."""

    crash: Crash
    broker: JetStream
    process: ServiceProcess

    async def send(self, *bodies: Message, within: float = QUIET_WITHIN) -> None:
        """Send messages, have the process die over them, and return when all has healed.

        They are stored before the process starts, so it finds them together. It dies at its
        point on as many deliveries as were asked for, is started once more and left alone.
        Raises SeawayError if it does not come by the point, and TimeoutError if it has not
        settled everything within so many seconds.
        """
        postings = [Envelope.opening(body, source="test").posting() for body in bodies]
        first = await self._stored(postings, within)
        async for _ in deaths(self.process, self.broker, self.crash, first):
            pass
        await quiet(self.broker, self.process, within)

    async def _stored(self, postings: Sequence[Posting], within: float) -> int:
        """Return the first sequence.

        A disk may stall: what had no answer is sent once more, which stores nothing twice.
        """
        async with asyncio.timeout(within):
            while True:
                with suppress(BrokerUnavailable):
                    answers = await self.broker.publish(postings)
                    break
                await asyncio.sleep(LOOK_EVERY)
        sequences = []
        for answer in answers:
            if isinstance(answer, Conflict):
                raise ContractError(f"{answer.stored.subject} is stored already, and differs")
            sequences.append(answer.sequence)
        return min(sequences)

    async def published(self) -> list[Message]:
        """Return all that the streams of the installed contracts keep, in order."""
        found = []
        for stream in {address_of(t).stream for t in installed_types().values()}:
            async for stored in self.broker.scan(stream.name, stream.subjects):
                type_ = installed_types()[stored.headers["ce-type"]]
                found.append(decode(type_, stored.data, stored.headers).body)
        return found

    async def dead_letters(self) -> list[str]:
        """Return why messages were set aside, in the order in which it happened."""
        kept = self.broker.scan(DEAD.name, DEAD.subjects)
        return [Letter.of(stored).reason async for stored in kept]


@asynccontextmanager
async def killed_at(
    crash: Crash, command: Sequence[str], settings: Mapping[str, str]
) -> AsyncIterator[CrashTest]:
    """Prepare a service on a real broker of its own; `send` then runs it, to die at a point.

    `settings` are its environment, such as its database; where the broker is is told to it.
    What it stores is there until the test throws it away, also after the context.
    """
    streams = {DEAD, *(address_of(t).stream for t in installed_types().values())}
    with tempfile.TemporaryDirectory(prefix="seaway-crash-") as folder:
        async with nats_server() as server, JetStream(server.url, "crash-test") as broker:
            await broker.connected()
            await apply(broker, declared(streams, []))
            told = {"SEAWAY_NATS_URL": server.url, **settings}
            process = ServiceProcess(command, told, Path(folder))
            await process.call("prepare")
            try:
                yield CrashTest(crash, broker, process)
            finally:
                await process.stop()


async def deaths(
    process: ServiceProcess, broker: JetStream, crash: Crash, first: int
) -> AsyncIterator[int]:
    """Have a process die over the messages from sequence `first` on; yield after each death.

    Before the next one they are delivered again. After the last one it is started once more,
    whole.
    """
    for delivery in range(1, crash.deliveries + 1):
        await process.start("--prepare", crash_at=crash.point)
        await process.crashed(crash.point)
        yield delivery
        if await in_hand(broker):
            await hand_back(broker)
        elif delivery < crash.deliveries:
            # It has acked. Only a broker that forgets that delivers a second time.
            await forget_acks(broker, first)
    await process.start("--prepare")


async def in_hand(broker: JetStream) -> int:
    """Return how many deliveries are not settled."""
    streams = await broker.streams()
    found = [d for name in streams for d in (await broker.durables(name)).values()]
    return sum(durable.ack_pending for durable in found)


async def hand_back(broker: JetStream) -> None:
    """Have what a dead process held delivered again now, and not after the ack wait.

    The next `prepare` gives its durables back the ack wait that they should have.
    """
    for stream in await broker.streams():
        for durable in (await broker.durables(stream)).values():
            if durable.ack_pending:
                await broker.put_durable(stream, {**durable.config, "ack_wait": SOON})


async def forget_acks(broker: JetStream, first: int) -> None:
    """Deliver everything from sequence `first` on again, as a broker does after a power cut."""
    for stream in await broker.streams():
        for name in await broker.durables(stream):
            await broker.rewind_durable(stream, name, first)


async def quiet(broker: JetStream, process: ServiceProcess, within: float = QUIET_WITHIN) -> None:
    """Return when no durable has anything before it or in somebody's hands.

    Raises TimeoutError with the durables that have, and SeawayError if the process has ended.
    """
    left: dict[str, int] = {}
    try:
        async with asyncio.timeout(within):
            while True:
                left = await unsettled(broker)
                if not left:
                    return
                if process.ended:
                    raise process.error("ended by itself")
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        counts = ", ".join(f"{name}: {count}" for name, count in left.items())
        raise TimeoutError(f"after {within} s not settled: {counts}\n{process.said}") from None


async def unsettled(broker: JetStream) -> dict[str, int]:
    """Return how many messages each durable still has before it; none: it is left out."""
    counts = {
        name: durable.pending + durable.ack_pending
        for stream in await broker.streams()
        for name, durable in (await broker.durables(stream)).items()
    }
    return {name: count for name, count in counts.items() if count}
