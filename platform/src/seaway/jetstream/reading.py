"""Reading a stream from a place on, without a durable: for people, and for the audit."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from seaway.broker import Stored
from seaway.errors import BrokerUnavailable
from seaway.jetstream.connection import Connection

AT_ONCE = 500
"""Messages that one request asks for."""
ANSWER_WITHIN = 5.0
READ_WITHIN = 2.0


def stored(message: Msg) -> Stored:
    """Return a message that carries its place in the stream in its headers."""
    headers: Mapping[str, str] = message.headers or {}
    return Stored(
        subject=headers["Nats-Subject"],
        data=message.data,
        headers={k: v for k, v in headers.items() if not k.startswith("Nats-")},
        sequence=int(headers["Nats-Sequence"]),
        at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
    )


async def first(
    connection: Connection, where: str, question: Mapping[str, Any] | None
) -> Stored | None:
    """Return the message that a Direct Get finds; None: it finds none. Raises BrokerUnavailable.

    `where` is a stream, and with no question a subject in it.
    """
    data = b"" if question is None else json.dumps(question).encode()
    answer = await connection.request(f"$JS.API.DIRECT.GET.{where}", data, wait=READ_WITHIN)
    return None if "Status" in (answer.headers or {}) else stored(answer)


async def counts(connection: Connection, stream: str, subjects: str) -> Mapping[str, int]:
    """Return how many messages each matching subject has. Raises BrokerUnavailable."""
    counted: dict[str, int] = {}
    while True:
        question = {"subjects_filter": subjects, "offset": len(counted)}
        answer = await connection.ask(f"STREAM.INFO.{stream}", question)
        if "error" in answer:
            raise BrokerUnavailable(f"{stream}: {answer['error'].get('description')}")
        page = answer["state"].get("subjects") or {}
        counted |= page
        if not page or len(counted) >= answer.get("total", 0):
            return counted


async def scan(
    connection: Connection, stream: str, subjects: str, after: int
) -> AsyncIterator[Stored]:
    """Yield what the stream keeps on `subjects` after a sequence, in order, up to now.

    Raises BrokerUnavailable.
    """
    answers: asyncio.Queue[Msg] = asyncio.Queue()

    async def heard(message: Msg) -> None:
        answers.put_nowait(message)

    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, heard)
    try:
        while True:
            question = {"seq": after + 1, "next_by_subj": subjects, "batch": AT_ONCE}
            data = json.dumps(question).encode()
            await connection.send(f"$JS.API.DIRECT.GET.{stream}", data, reply=inbox)
            begun_at = after
            async for message in _until_end(answers):
                found = stored(message)
                after = found.sequence
                yield found
            if after == begun_at:
                return
    finally:
        with suppress(NatsError, OSError):
            await subscription.unsubscribe()


async def _until_end(answers: asyncio.Queue[Msg]) -> AsyncIterator[Msg]:
    """Yield the messages of one answer: 204 ends it, 404 says that nothing is left."""
    while True:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                message = await answers.get()
        except TimeoutError as error:
            raise BrokerUnavailable("the broker stopped in the middle of an answer") from error
        match (message.headers or {}).get("Status", ""):
            case "":
                yield message
            case "204" | "404":
                return
            case status:
                said = (message.headers or {}).get("Description", "")
                raise BrokerUnavailable(f"cannot read the stream: {status} {said}")
