"""Poison: messages that a service cannot handle, must not, or dies of. And a service for them."""

import asyncio
import math
from pathlib import Path

from backlogs import command
from seaway.envelope import Envelope
from sign_ups import a_request

PERILOUS = Path(__file__).parent
"""Where the module `perilous` is: user creation that some names are the death of."""
AT_ONCE = 20
LARGEST = 64 * 1024
"""What the stream takes, headers and all."""


def opening(**fields):
    request = command(a_request())
    for name, value in fields.items():
        setattr(request, name, value)
    return Envelope.opening(request, source="test").posting()


def undecodable():
    posting = opening()
    return posting.subject, b"\xff\xff\xff", posting.headers


def of_another_type():
    posting = opening()
    headers = {**posting.headers, "ce-type": "acme.users.v1.CreateUserConfirmed"}
    return posting.subject, posting.data, headers


def huge():
    posting = opening()
    used = sum(len(k) + len(v) + 4 for k, v in posting.headers.items())
    body = posting.data + b"\x1a" + b"\xff\xff\x03" + b"x" * 0xFFFF
    return posting.subject, body[: LARGEST - used - 512], posting.headers


def invalid_utf8():
    posting = opening(display_name="Ada")
    return posting.subject, posting.data.replace(b"Ada", b"\xc3\x28\xff"), posting.headers


def against_the_rules():
    posting = opening(locale="not a language")
    return posting.subject, posting.data, posting.headers


def named(name):
    def peril():
        posting = opening(display_name=name)
        return posting.subject, posting.data, posting.headers

    return peril


async def publish(broker, messages, per_second=math.inf):
    """As a stranger would, who does not look how large a message is; so many a second at most."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    for start in range(0, len(messages), AT_ONCE):
        await asyncio.sleep(began + start / per_second - clock.time())
        answers = await asyncio.gather(
            *(broker.connection.request(*each) for each in messages[start : start + AT_ONCE])
        )
        assert not any(b"error" in answer.data for answer in answers)
