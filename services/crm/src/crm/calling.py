"""Calls to a CRM over HTTP: at its pace, in time, with answers no larger than they may be."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Self

import httpx
from prometheus_client import Counter, Histogram
from seaway.errors import DependencyDown
from seaway.failpoints import crash_here, declare

from crm.guard import GuardedTransport
from crm.pace import Pace

CONNECT_WITHIN = 2.0
ANSWER_WITHIN = 5.0
"""Seconds for one call, all of it."""
MOST_BYTES = 1_000_000
"""The largest answer that is read."""
PATIENCE = 12.0
"""Seconds that we wait for our turn with a batch in hand: longer than the usual pause of 10 s."""
USUAL_PAUSE = 10.0
"""Seconds to leave a CRM alone that says "too often", and not for how long."""
LONG_PAUSE = 60.0
"""The same if the limit is that of a day."""
TOO_MANY_REQUESTS = 429

CALLS = Counter(
    "seaway_crm_calls_total", "Calls to the CRM; `status` of its answer, or none.", ("status",)
)
for _status in ("200", "429", "none"):
    CALLS.labels(_status)
CALL_SECONDS = Histogram(
    "seaway_crm_call_seconds",
    "How long it took to answer, without the wait for our turn.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

declare("C1", "fetched, the CRM not yet called")
declare("C2", "the CRM has done it, its answer not yet read")
declare("C3", "the CRM has said yes, not yet recorded")


class NoAnswer(DependencyDown):
    """A call was made, and there is no answer that says what came of it.

    The CRM is away, unless it is only so for what it was called with: crm/blame.py.
    """


@dataclass(frozen=True, slots=True)
class Token:
    """What the CRM knows us by: given, or in a file, which is read again at each call."""

    given: str = field(default="", repr=False)
    file: Path | None = None

    def read(self) -> str:
        """Return it. Raises DependencyDown if the file has none."""
        try:
            token = self.given if self.file is None else self.file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise DependencyDown(f"the CRM's token: {type(error).__name__}") from error
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise DependencyDown("the CRM's token: the file holds none")
        return token


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CRM has answered. Nobody vouches for it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return its body. Raises NoAnswer if that is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise NoAnswer(f"the CRM answers {self.status} without JSON") from error

    @property
    def pause(self) -> float:
        """How many seconds it wants to be left alone."""
        said = self.headers.get("retry-after", "")
        if said.isascii() and said.isdecimal():
            return float(said[:6])
        return LONG_PAUSE if b'"DAILY"' in self.body else USUAL_PAUSE


class Calls:
    """HTTP to one CRM, and to nobody else: it follows no redirect and knows no proxy."""

    def __init__(
        self, url: str, token: Token, pace: Pace, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._token = token
        self._pace = pace
        self._client = httpx.AsyncClient(
            base_url=url,
            transport=transport or GuardedTransport(),
            timeout=httpx.Timeout(ANSWER_WITHIN, connect=CONNECT_WITHIN),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, **content: Any) -> Answer:
        """Call when it is our turn; return the answer, whatever its status, unless it is 429.

        After that one it calls again, if that is allowed soon: in no more than 12 s from the
        beginning. Raises DependencyDown if not; NoAnswer if there is none within 5 s, or it is
        larger than 1 MB.
        """
        until = monotonic() + PATIENCE
        while True:
            await self._pace.turn(until - monotonic())
            answer = await self._called(method, path, content)
            if answer.status != TOO_MANY_REQUESTS:
                return answer
            self._pace.pause(answer.pause)

    async def _called(self, method: str, path: str, content: Mapping[str, Any]) -> Answer:
        headers = {
            "authorization": f"Bearer {self._token.read()}",
            # What is compressed may be small on the way and large in memory.
            "accept-encoding": "identity",
        }
        began, status = perf_counter(), "none"
        try:
            async with (
                asyncio.timeout(ANSWER_WITHIN),
                self._client.stream(method, path, headers=headers, **content) as response,
            ):
                status = str(response.status_code)
                crash_here("C2")
                return Answer(response.status_code, response.headers, await _body(response))
        except (httpx.TransportError, TimeoutError) as error:
            raise NoAnswer(f"the CRM does not answer: {type(error).__name__}") from error
        finally:
            CALLS.labels(status).inc()
            CALL_SECONDS.observe(perf_counter() - began)


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MOST_BYTES:
            raise NoAnswer(f"the CRM answers with more than {MOST_BYTES} bytes")
    return bytes(body)
