"""One program on trial: given messages, overheard, held up, stopped and started again."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from google.protobuf.message import Message

from seaway.broker import Receipt
from seaway.conformance.bodies import body_for
from seaway.conformance.candidate import Candidate
from seaway.conformance.obstacle import Door, Obstacle, Receipts, door_to, lifted
from seaway.conformance.promise import Broken
from seaway.conformance.tap import ACK, Said, Tap, Word
from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.dev.health import ask_health
from seaway.envelope import Envelope
from seaway.jetstream import JetStream
from seaway.service import redrive_subject
from seaway.testing import ServiceProcess, nats_server
from seaway.topology import apply, declared

OURS = "conformance"
READY = 200
LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Given:
    """A message that the program was given."""

    envelope: Envelope[Message]
    body: bytes
    sequence: int
    at: float


@dataclass(frozen=True, slots=True)
class Held:
    """A message that the program could not get done, and what it said meanwhile."""

    given: Given
    words: Sequence[Word]
    seconds: float
    """From the message to the end of its first delivery, or of our holding."""
    deliveries: int
    """Of this message, meanwhile."""


@dataclass(slots=True)
class Trial:
    """A program, and all that can be done to it and seen of it."""

    candidate: Candidate
    broker: JetStream
    tap: Tap
    obstacle: Obstacle
    program: ServiceProcess
    port: int
    """Where it says whether it is ready."""
    patience: float
    """Seconds that anything may take."""
    given: list[Given] = field(default_factory=list)
    is_ready: bool = False
    """Whether it has ever been."""
    rewound: int = 0
    """How many words had been heard when the durable last began anew."""
    held: Held | None = None
    """What was seen while it was held up."""

    @property
    def stream(self) -> str:
        """Where it listens."""
        return self.candidate.address.stream.name

    async def ready(self) -> float:
        """Return after how many seconds it was ready. Raises Broken."""
        began = time.monotonic()
        while time.monotonic() - began < self.patience:
            status, _ = await ask_health(self.port, "/readyz")
            if status == READY:
                return time.monotonic() - began
            if self.program.ended:
                code = await self.program.exit_code(1)
                raise Broken(f"it ended with {code} before it was ready")
            await asyncio.sleep(LOOK_EVERY)
        raise Broken(
            f"no 200 on port {self.port}, /readyz (SEAWAY_METRICS_PORT), in {self.patience:g} s"
        )

    async def give(
        self,
        *,
        more: bytes = b"",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        redriven: bool = False,
    ) -> Given:
        """Give it a message: ids, conversation and trace are of their own, none is the key.

        `more` follows the body, `body` is there instead; on a redrive subject only the headers
        say what it is.
        """
        key = str(uuid4())
        message = body_for(self.candidate.type, key, self.candidate.fields)
        envelope = Envelope(
            body=message,
            id=str(uuid4()),
            source=OURS,
            time=datetime.now(UTC),
            correlation_id=str(uuid4()),
            causation_id=str(uuid4()),
            traceparent=f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
        )
        posting = replace(envelope.posting(), rivals=())
        posting = replace(
            posting,
            subject=self._redrive_subject() if redriven else posting.subject,
            data=body or posting.data + more,
            headers={**posting.headers, **(headers or {})},
        )
        at = time.monotonic()
        (receipt,) = await self.broker.publish([posting])
        assert isinstance(receipt, Receipt)
        self.given.append(Given(envelope, posting.data, receipt.sequence, at))
        return self.given[-1]

    async def settled(self, given: Given, within: float | None = None) -> Word:
        """Return how its first delivery ended. Raises Broken if it did not in time."""
        within = self.patience if within is None else within

        def ends() -> list[Word]:
            return list(self.tap.about(given.sequence, settling=True))

        if not await self.tap.until(lambda: bool(ends()), within):
            raise Broken(f"neither acked nor nakked nor termed in {within:g} s")
        await self.tap.caught_up()
        return ends()[0]

    async def acked(self, given: Given) -> Word:
        """Return the ack, at whichever delivery it comes. Raises Broken if none does in time."""

        def acks() -> list[Word]:
            return [word for word in self.tap.about(given.sequence) if word.said == ACK]

        if not await self.tap.until(lambda: bool(acks()), self.patience):
            heard = ", ".join(word.said for word in self.tap.about(given.sequence)) or "nothing"
            raise Broken(f"no ack in {self.patience:g} s; heard: {heard}")
        await self.tap.caught_up()
        return acks()[0]

    def said_since(self, number: int) -> Sequence[Said]:
        """Return what the program has published since so many were heard, dead letters aside."""
        prefix = DEAD.subjects.removesuffix(">")
        return [s for s in self.tap.said[number:] if not s.subject.startswith(prefix)]

    async def quiet(self) -> None:
        """Return when it has settled all that it was given. Raises Broken if it does not."""
        name, over = self.candidate.durable.name, time.monotonic() + self.patience
        while True:
            durable = (await self.broker.durables(self.stream))[name]
            left = durable.pending + durable.ack_pending
            if not left:
                return await self.tap.caught_up()
            if time.monotonic() > over:
                raise Broken(f"{left} messages not settled in {self.patience:g} s")
            await asyncio.sleep(LOOK_EVERY)

    async def deliver_all_again(self) -> None:
        """Have the broker forget what was acked, as it does when its power is cut."""
        self.rewound = len(self.tap.words)  # before: the first may be settled before we are told
        await self.broker.rewind_durable(self.stream, self.candidate.durable.name, 1)

    async def stored(self) -> Mapping[str, int]:
        """Return how many messages each subject has, dead letters' included."""
        counts = await self.broker.counts(self.stream, ">")
        return {**counts, **await self.broker.counts(DEAD.name, ">")}

    def _redrive_subject(self) -> str:
        number = str(10_000 + len(self.given))
        return redrive_subject(self.candidate.address.stream, self.candidate.durable.name, number)


@asynccontextmanager
async def on_trial(candidate: Candidate, folder: Path, patience: float) -> AsyncIterator[Trial]:
    """Start a broker, make its topology and prepare the program, which `program.start()` starts.

    It works in the folder we are in; what it keeps, and its log, is in `folder`. Raises
    SettingsError if no message can be made up for it.
    """
    body_for(candidate.type, str(uuid4()), candidate.fields)
    streams = {DEAD, *(address_of(type_).stream for type_ in installed_types().values())}
    subjects = [stream.subjects for stream in streams]
    async with nats_server() as server, JetStream(server.url, OURS) as broker:
        await broker.connected()
        await apply(broker, declared(streams, [candidate.durable]))
        tap = Tap(broker)
        await tap.listen(subjects)
        async with _obstacle(candidate, broker, tap) as obstacle:
            port = free_port()
            told = {
                "SEAWAY_NATS_URL": server.url,
                "SEAWAY_METRICS_PORT": str(port),
                "SEAWAY_LOG_FORMAT": "console",
                "SEAWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{candidate.service}.db",
                **_filled(candidate.settings, folder, obstacle),
            }
            log = folder / "program.log"
            program = ServiceProcess(candidate.command, told, Path.cwd(), log)
            try:
                yield Trial(candidate, broker, tap, obstacle, program, port, patience)
            finally:
                await lifted(obstacle)
                await program.stop()


@asynccontextmanager
async def _obstacle(candidate: Candidate, broker: JetStream, tap: Tap) -> AsyncIterator[Obstacle]:
    if candidate.dependency:
        async with door_to(candidate.dependency, tap) as door:
            yield door
    else:
        stream = candidate.address.stream
        again = redrive_subject(stream, candidate.durable.name, "*")
        yield Receipts(broker, tap, stream.name, (candidate.address.every_key, again))


def _filled(settings: Mapping[str, str], folder: Path, obstacle: Obstacle) -> dict[str, str]:
    port = obstacle.ours if isinstance(obstacle, Door) else ""
    places = {"{folder}": str(folder), "{port}": str(port), "{dependency}": f"127.0.0.1:{port}"}
    filled = dict(settings)
    for word, place in places.items():
        filled = {name: value.replace(word, place) for name, value in filled.items()}
    return filled


def free_port() -> int:
    """Return a port of this machine that nobody holds just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
