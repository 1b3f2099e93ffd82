"""What an answer of HubSpot's means: pure functions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seaway.errors import DependencyDown, NotNow, Unprocessable

from crm.calling import Answer, NoAnswer

DONE = (200, 201, 207)
MAY_PASS = (408, 409, 423, 425)
"""Busy with this contact, or too slow, just now."""
OUR_FAULT = (401, 402, 403, 404, 405, 407, 410)
"""Statuses that say something of our token, plan or URL, and nothing of a contact."""
FOR_GOOD = ("VALIDATION_ERROR", "INVALID_EMAIL", "INVALID_PARAMS", "MISSING_REQUIRED_FIELD")
"""Categories of errors that another attempt will not change."""
UNPREPARED = "PROPERTY_DOESNT_EXIST"
"""The CRM lacks a property that it has to be given first: docs/add-a-crm.md."""
CODES = ("code", "error", "subCategory")
"""Where an error has its code."""


def check(answer: Answer) -> Any:
    """Return the JSON of an answer that says what was done.

    Raises Unprocessable if it refuses what it was sent, NotNow if it is busy with that,
    DependencyDown if it does not know us, and NoAnswer if it has failed.
    """
    status = answer.status
    if status in DONE:
        return answer.json()
    if status in MAY_PASS:
        raise NotNow(f"the CRM answers {status}")
    if UNPREPARED in codes(answer.body):
        raise DependencyDown("the CRM lacks a property; docs/add-a-crm.md lists them")
    if status in OUR_FAULT:
        raise DependencyDown(f"the CRM answers {status}")
    if 400 <= status < 500:
        raise Unprocessable("CRM_REFUSED")
    raise NoAnswer(f"the CRM answers {status}")


def codes(body: bytes) -> set[str]:
    """Return the codes of the errors that an answer lists, also in its message, as JSON there.

    A code counts where a code stands: an answer repeats what it was sent, and people choose that.
    """
    said = _read(body)
    message = said.get("message") if isinstance(said, dict) else None
    in_message = _read(message.partition(": ")[2]) if isinstance(message, str) else None
    errors = [*listed(said, "errors"), *(in_message if isinstance(in_message, list) else ())]
    found = [error.get(key) for error in errors if isinstance(error, dict) for key in CODES]
    return {code for code in found if isinstance(code, str)}


def _read(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def failures(sent: Mapping[str, str], said: Any) -> dict[str, Exception]:
    """Return why some contacts are not there, given the answer to an upsert.

    `sent` are e-mails by trace id, and so are the failures. Only what is named as done, and not
    as an error, is taken as done: of what an answer does not mention nothing is known.
    """
    ids = {email: trace for trace, email in sent.items()}
    ids |= {email.lower(): trace for trace, email in sent.items()} | {i: i for i in sent}
    done = {ids.get(name) for result in listed(said, "results") for name in _names(result)}
    failed: dict[str, Exception] = {
        trace: NotNow("the CRM does not say what became of it")
        for trace in sent
        if trace not in done
    }
    for error in listed(said, "errors"):
        why = _reason(error)
        failed |= {ids[name]: why for name in _blamed(error) if name in ids}
    return failed


def listed(said: Any, key: str) -> Sequence[Any]:
    """Return what an answer lists under a key; nothing if it does not."""
    match said:
        case {**fields} if isinstance(listed := fields.get(key), list):
            return listed
    return ()


def _names(result: Any) -> Iterator[str]:
    """Yield what a result says it is about: our trace id, and the e-mail."""
    match result:
        case {"objectWriteTraceId": str(trace)}:
            yield trace
    match result:
        case {"properties": {"email": str(email)}}:
            yield email.lower()


def _blamed(error: Any) -> Iterator[str]:
    """Yield what an error says it is about."""
    match error:
        case {"context": {**about}}:
            for key in ("objectWriteTraceId", "ids", "id", "email"):
                values = about.get(key)
                yield from map(str, values if isinstance(values, list) else [values])


def _reason(error: Any) -> Exception:
    match error:
        case {"category": str(category)} if category in FOR_GOOD:
            return Unprocessable("CRM_REFUSED")
    return NotNow("the CRM refused it, and may not next time")
