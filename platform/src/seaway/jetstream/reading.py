"""Reading a stream from a place on, without a durable: for people, and for the audit.

Any replica answers a Direct Get, also one that lags, or that holds nothing yet because it was cut
off: then what is there may not be shown, and what is shown is there. Whether there is *nothing*
only the replica knows that leads the stream (docs/decisions/0010).
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from seaway.broker import Stored
from seaway.errors import BrokerUnavailable
from seaway.jetstream.connection import LOST, Connection
from seaway.topology import FoundStream

AT_ONCE = 500
"""Messages that one request asks for."""
ANSWER_WITHIN = 5.0
READ_WITHIN = 2.0
NOTHING_THERE = 10037
NOT_LED = {10008, 10009}
LED_WITHIN, AGAIN_AFTER = 10.0, 0.25
"""Seconds. A replica that has just come back to the others knows of nobody who leads, and says so
before the one that does can answer; where there is none, a cluster elects one in 4 to 9 s."""


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


def status_of(answer: Msg) -> str:
    """Return what the broker says of itself; empty if it is a message, whatever that says."""
    headers: Mapping[str, str] = answer.headers or {}
    return "" if "Nats-Sequence" in headers else headers.get("Status", "")


async def last_on(connection: Connection, stream: str, subject: str) -> Stored | None:
    """Return what some replica shows on a subject, or None. Raises BrokerUnavailable."""
    where = f"$JS.API.DIRECT.GET.{stream}.{subject}"
    answer = await connection.request(where, wait=READ_WITHIN)
    return None if status_of(answer) else stored(answer)


def found_stream(stream: Mapping[str, Any]) -> FoundStream:
    """Return a stream as the broker lists it."""
    state = stream["state"]
    oldest = datetime.fromisoformat(state["first_ts"]) if state["messages"] else None
    return FoundStream(
        config=stream["config"],
        bytes=state["bytes"],
        oldest=oldest,
        first=state["first_seq"],
        last=state["last_seq"],
        created=datetime.fromisoformat(stream["created"]),
        messages=state["messages"],
    )


async def ask_leader(connection: Connection, subject: str, question: Mapping[str, Any]) -> Any:
    """Return what the one that leads a stream answers, errors included, as JSON.

    If nobody leads it for LED_WITHIN seconds, that is the answer. Raises BrokerUnavailable.
    """
    over = time.monotonic() + LED_WITHIN
    while True:
        answer = await connection.ask(subject, question)
        led = answer.get("error", {}).get("err_code") not in NOT_LED
        if led or time.monotonic() >= over:
            return answer
        await asyncio.sleep(AGAIN_AFTER)


async def first(connection: Connection, stream: str, question: Mapping[str, Any]) -> Stored | None:
    """Return the first message that fits a question; None: there is none.

    Who leads the stream answers, and nobody else. Raises BrokerUnavailable.
    """
    answer = await ask_leader(connection, f"STREAM.MSG.GET.{stream}", question)
    match answer:
        case {"message": message}:
            return _led(message)
        case {"error": {"err_code": code}} if code == NOTHING_THERE:
            return None
        case _:
            raise BrokerUnavailable(f"{stream}: {answer['error'].get('description')}")


async def counts(connection: Connection, stream: str, subjects: str) -> Mapping[str, int]:
    """Return how many messages each matching subject has. Raises BrokerUnavailable."""
    counted: dict[str, int] = {}
    while True:
        question = {"subjects_filter": subjects, "offset": len(counted)}
        answer = await ask_leader(connection, f"STREAM.INFO.{stream}", question)
        if "error" in answer:
            raise BrokerUnavailable(f"{stream}: {answer['error'].get('description')}")
        page = answer["state"].get("subjects") or {}
        counted |= page
        if not page or len(counted) >= answer.get("total", 0):
            return counted


async def count_after(connection: Connection, stream: str, subjects: str, after: int) -> int:
    """Return how many messages some replica has on `subjects` after a place.

    Raises BrokerUnavailable.
    """
    question = {"seq": after + 1, "next_by_subj": subjects, "batch": 1}
    where = f"$JS.API.DIRECT.GET.{stream}"
    answer = await connection.request(where, json.dumps(question).encode(), wait=READ_WITHIN)
    return 0 if status_of(answer) else 1 + int((answer.headers or {})["Nats-Num-Pending"])


async def scan(
    connection: Connection, stream: str, subjects: str, after: int
) -> AsyncIterator[Stored]:
    """Yield what the stream keeps on `subjects` after a sequence, in order, up to now.

    What no replica shows yet comes from the one that leads, message by message. Raises
    BrokerUnavailable.
    """
    answers: asyncio.Queue[Msg] = asyncio.Queue()

    async def heard(message: Msg) -> None:
        answers.put_nowait(message)

    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, heard)
    try:
        while True:
            question = {"seq": after + 1, "next_by_subj": subjects}
            data = json.dumps(question | {"batch": AT_ONCE}).encode()
            await connection.send(f"$JS.API.DIRECT.GET.{stream}", data, reply=inbox)
            begun_at = after
            async for message in _until_end(answers):
                found = stored(message)
                after = found.sequence
                yield found
            if after == begun_at:
                unseen = await first(connection, stream, question)
                if unseen is None:
                    return
                after = unseen.sequence
                yield unseen
    finally:
        with suppress(*LOST):
            await subscription.unsubscribe()


async def _until_end(answers: asyncio.Queue[Msg]) -> AsyncIterator[Msg]:
    """Yield the messages of one answer: 204 ends it, 404 says that nothing is left."""
    while True:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                message = await answers.get()
        except TimeoutError as error:
            raise BrokerUnavailable("the broker stopped in the middle of an answer") from error
        match status_of(message):
            case "":
                yield message
            case "204" | "404":
                return
            case status:
                said = (message.headers or {}).get("Description", "")
                raise BrokerUnavailable(f"cannot read the stream: {status} {said}")


def _led(message: Mapping[str, Any]) -> Stored:
    """Return a message as it stands in an answer of JetStream's API."""
    hdrs = base64.b64decode(message.get("hdrs", "")).decode(errors="replace")
    lines = hdrs.split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return Stored(
        subject=message["subject"],
        data=base64.b64decode(message.get("data", "")),
        headers={k: v.strip() for k, _, v in pairs if not k.startswith("Nats-")},
        sequence=message["seq"],
        at=datetime.fromisoformat(message["time"]),
    )
