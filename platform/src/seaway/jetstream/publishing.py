"""Storing messages: each subject once, many as one atomic batch, and what a refusal means."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any

from seaway.broker import Conflict, Posting, Receipt
from seaway.errors import BrokerUnavailable, StreamFull, TooLarge
from seaway.jetstream.connection import Connection
from seaway.jetstream.reading import last_on

BATCH = 1000
"""The most messages that the broker takes as one atomic batch."""
PUBLISH_WITHIN = 5.0
READ_BACK = (0.0, 0.05, 0.2, 0.5)
"""Seconds before each attempt to read back: a replica that lags may answer "nothing there"."""

PER_SUBJECT = "per subject"
ALREADY_STORED = 10077
WRONG_LAST_SEQUENCE = 10071
ONE_BY_ONE = {ALREADY_STORED, WRONG_LAST_SEQUENCE, 10164, 10201}
"""Answers to an atomic batch that blame one member of it, without saying which."""
TOO_LARGE = 10054
FULL = {ALREADY_STORED, 10023, 10047, 10053, 10122}
"""… maximum messages or bytes exceeded, and the broker's own storage at its end."""

FEW = 4
"""Messages that are stored each by itself, one behind the other without waiting for an answer.

An atomic batch costs the broker some 2 ms of its processor, however small it is, and one message
by itself 0.2 ms (docs/bench/notes.md).
"""

type Answers = list[Receipt | Conflict]


async def publish(connection: Connection, postings: Sequence[Posting]) -> Answers:
    """Store messages, those of one stream together, and answer for each, in the order given.

    Raises BrokerUnavailable and StreamFull (some may be stored: try again), and TooLarge.
    """
    by_stream: dict[str, list[int]] = {}
    for index, posting in enumerate(postings):
        by_stream.setdefault(posting.stream, []).append(index)
    answers: dict[int, Receipt | Conflict] = {}
    for indices in by_stream.values():
        for part in batched(indices, BATCH):
            stored = await _in_one_stream(connection, [postings[index] for index in part])
            answers.update(zip(part, stored, strict=True))
    return [answers[index] for index in range(len(postings))]


async def _in_one_stream(connection: Connection, postings: Sequence[Posting]) -> Answers:
    if len(postings) <= FEW:
        return await asyncio.gather(*(_alone(connection, posting) for posting in postings))
    return await _together(connection, postings) or await _missing(connection, postings)


async def _together(connection: Connection, postings: Sequence[Posting]) -> Answers | None:
    """Store all or nothing; None: nothing is stored, since one of them is to blame."""
    batch = connection.new_inbox().rpartition(".")[2]
    last = len(postings)
    for number, posting in enumerate(postings, start=1):
        headers = _headers(posting) | {
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(number),
        }
        if number < last:
            await connection.send(posting.subject, posting.data, headers)
        else:
            headers["Nats-Batch-Commit"] = "1"
            answer = await connection.request(
                posting.subject, posting.data, headers, PUBLISH_WITHIN
            )
    said = json.loads(answer.data)
    if "error" not in said:
        return [Receipt(said["seq"] - last + n) for n in range(1, last + 1)]
    if said["error"].get("err_code") in ONE_BY_ONE:
        return None
    raise failure(said["error"])


async def _missing(connection: Connection, postings: Sequence[Posting]) -> Answers:
    """Store what is not there yet of a batch that was refused: a replay, or a repeat in it."""
    looks = (last_on(connection, each.stream, each.subject) for each in postings)
    pairs = list(zip(postings, await asyncio.gather(*looks), strict=True))
    missing = [posting for posting, stored in pairs if stored is None]
    together = await _together(connection, missing) if 1 < len(missing) < len(pairs) else None
    alone = (_alone(connection, posting) for posting in missing)
    new = iter(together or await asyncio.gather(*alone))
    return [next(new) if there is None else each.answer(there) for each, there in pairs]


async def _alone(connection: Connection, posting: Posting) -> Receipt | Conflict:
    answer = await connection.request(
        posting.subject, posting.data, _headers(posting), PUBLISH_WITHIN
    )
    said = json.loads(answer.data)
    if "error" not in said:
        return Receipt(said["seq"])
    code = said["error"].get("err_code")
    if code == ALREADY_STORED and PER_SUBJECT in said["error"]["description"]:
        return await _read_back(connection, posting, (posting.subject,))
    if code == WRONG_LAST_SEQUENCE:
        return await _read_back(connection, posting, (posting.subject, *posting.rivals))
    raise failure(said["error"])


async def _read_back(
    connection: Connection, posting: Posting, subjects: Sequence[str]
) -> Receipt | Conflict:
    """Return what the broker has instead. "Already stored" is believed only when seen."""
    for delay in READ_BACK:
        await asyncio.sleep(delay)
        for subject in subjects:
            there = await last_on(connection, posting.stream, subject)
            if there is not None:
                return posting.answer(there)
    raise BrokerUnavailable(f"{posting.subject} is stored, but no replica shows it yet")


def failure(error: Mapping[str, Any]) -> BrokerUnavailable | StreamFull | TooLarge:
    """Return what an answer of the broker means for whoever wanted something stored."""
    said = f"{error.get('err_code')} {error.get('description')}"
    if error.get("err_code") == TOO_LARGE:
        return TooLarge(said)
    if error.get("err_code") in FULL:
        return StreamFull(said)
    return BrokerUnavailable(said)


def _headers(posting: Posting) -> dict[str, str]:
    headers = dict(posting.headers)
    for rival in posting.rivals:
        headers["Nats-Expected-Last-Subject-Sequence"] = "0"
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = rival
    return headers
