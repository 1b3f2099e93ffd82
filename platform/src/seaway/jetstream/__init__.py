"""The broker, as NATS JetStream. Nothing outside this package imports nats.

What one question to it asks is here; what needs more than one has a file: publishing, reading,
delivery, the connection.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Self

from nats.aio.msg import Msg

from seaway.broker import Conflict, Posting, Pull, Receipt, Stored
from seaway.errors import BrokerUnavailable, TopologyError
from seaway.jetstream.connection import LOST, Connection
from seaway.jetstream.delivery import JetStreamPull
from seaway.jetstream.publishing import failure, publish
from seaway.jetstream.reading import (
    ask_leader,
    count_after,
    counts,
    first,
    found_stream,
    last_on,
    scan,
    stored,
)
from seaway.telemetry import PUBLISH_SECONDS
from seaway.topology import LIVE, Config, Durable, FoundStream

NOT_YET = {10004, 10005, 10007, 10008, 10009, 10040, 10202}
"""What a cluster says of its streams while it forms, or elects who leads."""

WAS_NOT_THERE = {10043, 10057}
"""Nothing is at that place, or nothing is so far (2.14.3: "stream store EOF")."""


class JetStream:
    """A Broker and a Backbone on one connection that is made in the background."""

    def __init__(self, url: str, name: str, credentials_file: str = "") -> None:
        self.connection = Connection(url, name, credentials_file)

    async def __aenter__(self) -> Self:
        await self.connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.__aexit__()

    async def connected(self) -> None:
        """Wait until the broker is there."""
        await self.connection.up.wait()

    async def publish(self, postings: Sequence[Posting]) -> Sequence[Receipt | Conflict]:
        """Store messages, many of them as one atomic batch where that can be; answer for each.

        Raises BrokerUnavailable and StreamFull (some may be stored: try again), and TooLarge.
        """
        for posting in postings:
            posting.check_size()
        with PUBLISH_SECONDS.labels(self.connection.name).time():
            return await publish(self.connection, postings)

    async def read(self, stream: str, subject: str) -> Stored | None:
        """Return the last message on a subject; None does not mean that there is none.

        Raises BrokerUnavailable.
        """
        return await last_on(self.connection, stream, subject)

    def scan(self, stream: str, subjects: str, after: int = 0) -> AsyncIterator[Stored]:
        """Yield what the stream keeps on `subjects` after a sequence, in order, up to now.

        Raises BrokerUnavailable.
        """
        return scan(self.connection, stream, subjects, after)

    async def place_at(self, stream: str, moment: datetime) -> int | None:
        """Return the place of the first message stored at a moment or later; None: none is.

        Raises BrokerUnavailable.
        """
        question = {"start_time": moment.isoformat(), "next_by_subj": ">"}
        found = await first(self.connection, stream, question)
        return None if found is None else found.sequence

    async def next_after(self, stream: str, subjects: str, sequence: int) -> Stored | None:
        """Return the first message on `subjects` after a place; None: there is none.

        Raises BrokerUnavailable.
        """
        question = {"seq": sequence + 1, "next_by_subj": subjects}
        return await first(self.connection, stream, question)

    async def count_after(self, stream: str, subjects: str, sequence: int) -> int:
        """Return how many messages some replica has after a place. Raises BrokerUnavailable."""
        return await count_after(self.connection, stream, subjects, sequence)

    async def counts(self, stream: str, subjects: str) -> Mapping[str, int]:
        """Return how many messages each subject has that matches `subjects`.

        Raises BrokerUnavailable, also if there is no such stream.
        """
        return await counts(self.connection, stream, subjects)

    async def remove(self, stream: str, sequence: int) -> bool:
        """Take one message out of a stream; return whether it was there.

        Raises BrokerUnavailable.
        """
        subject, question = f"STREAM.MSG.DELETE.{stream}", {"seq": sequence}
        match await ask_leader(self.connection, subject, question):
            case {"success": True}:
                return True
            case {"error": {"err_code": code}} if code in WAS_NOT_THERE:
                return False
            case answer:
                raise failure(answer["error"])

    def pull(self, stream: str, durable: str) -> AbstractAsyncContextManager[Pull]:
        """Bind to a durable that topology has made. Raises DurableGone at the first fetch."""
        return JetStreamPull(self.connection, stream, durable)

    @asynccontextmanager
    async def follow(
        self, subjects: str, tell: Callable[[Stored], None], lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Tell of each message on `subjects` as it is stored, for as long as the context lasts.

        Waits for the broker first. After `lost` was called some may be missing, so read.
        """

        async def heard(message: Msg) -> None:
            tell(stored(message))

        await self.connection.up.wait()
        subscription = await self.connection.subscribe(f"{LIVE}.{subjects}", heard)
        await self.connection.heard_so_far()
        undo = self.connection.when_back(lost)
        try:
            yield
        finally:
            undo()
            with suppress(*LOST):
                await subscription.unsubscribe()

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name. Raises BrokerUnavailable."""
        listed = await self._list("STREAM.LIST", "streams")
        return {stream["config"]["name"]: found_stream(stream) for stream in listed}

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name. Raises BrokerUnavailable."""
        listed = await self._list(f"CONSUMER.LIST.{stream}", "consumers")
        return {
            found["name"]: Durable(
                config=found["config"],
                pending=found["num_pending"],
                ack_pending=found["num_ack_pending"],
                ack_floor=found["ack_floor"]["stream_seq"],
                delivered=found["delivered"]["stream_seq"],
                created=datetime.fromisoformat(found["created"]),
                deliveries=found["delivered"]["consumer_seq"],
                redelivered=found["num_redelivered"],
                pulls=found.get("num_waiting", 0),
                seen_at=datetime.fromisoformat(found["ts"]),
            )
            for found in listed
        }

    async def put_stream(self, config: Config) -> None:
        """Create a stream, or give it this configuration.

        Raises TopologyError, and BrokerUnavailable also of a cluster that is not ready for it.
        """
        name = config["name"]
        known = name in await self.streams()
        await self._call(f"STREAM.{'UPDATE' if known else 'CREATE'}.{name}", config)

    async def put_durable(self, stream: str, config: Config) -> None:
        """Create a durable, or give it this configuration. Raises as `put_stream` does."""
        subject = f"CONSUMER.CREATE.{stream}.{config['durable_name']}"
        await self._call(subject, {"stream_name": stream, "config": config, "action": ""})

    async def rewind_durable(self, stream: str, name: str, sequence: int) -> None:
        """Have a durable go on from this place in the stream. Raises as `put_stream` does."""
        if name not in await self.durables(stream):  # the broker would not answer at all
            raise TopologyError(f"stream {stream} has no durable {name}")
        await self._call(f"CONSUMER.RESET.{stream}.{name}", {"seq": sequence})

    async def delete_durable(self, stream: str, name: str) -> None:
        """Delete a durable, and with it how far it had come. Raises as `put_stream` does."""
        await self._call(f"CONSUMER.DELETE.{stream}.{name}", None)

    async def _list(self, subject: str, key: str) -> list[Any]:
        listed: list[Any] = []
        while True:
            answer = await self.connection.ask(subject, {"offset": len(listed)})
            if "error" in answer:
                raise failure(answer["error"])
            page = answer.get(key) or []
            listed += page
            if len(listed) >= answer["total"]:
                return listed
            if not page:  # a cluster that elects somebody counts what it cannot show
                raise BrokerUnavailable(f"{subject}: {answer['total'] - len(listed)} are missing")

    async def _call(self, subject: str, question: Mapping[str, Any] | None) -> None:
        answer = await self.connection.ask(subject, question)
        if "error" in answer:
            why = f"{subject}: {answer['error']['description']}"
            not_yet = answer["error"].get("err_code") in NOT_YET
            raise BrokerUnavailable(why) if not_yet else TopologyError(why)
