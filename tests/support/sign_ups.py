"""Clients that sign up as real ones do, and remember what they asked and were told, and when.

The history of a run is a list of `SignUp`s. `Load` makes one: a steady stream of people, each of
whom asks again, at any gateway, until there is a definite answer.
"""

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle, takewhile
from uuid import uuid4

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from waiting import until

AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
ENDED = {api.STATE_CONFIRMED, api.STATE_REJECTED, api.STATE_EMAILED}
ANSWERED_WITHIN = 180.0
"""Seconds that a client of a load asks again before it gives up."""
BACK_OFF, LONGEST_BACK_OFF = 0.05, 1.0
"""Seconds between two tries, twice as long each time: hundreds who wait must not keep a machine
that is slow already from ever being ready for them (tried)."""
ATTEMPT = 10.0
"""Seconds of one call."""


@dataclass
class SignUp:
    """One person's sign-up: what was asked for, and every answer."""

    request: api.SignUpRequest
    told: list[api.SignUpUpdate] = field(default_factory=list)
    errors: list[grpc.StatusCode] = field(default_factory=list)
    begun: float = 0.0
    """By the monotonic clock, as the times below."""
    ended_at: float = 0.0
    slowest_call: float = 0.0
    history: list[tuple[float, str]] = field(default_factory=list)
    """When it was attempted, accepted, told what, and refused why."""

    @property
    def request_id(self):
        return self.request.request_id

    @property
    def accepted(self):
        return bool(self.told)

    @property
    def ended(self):
        return bool(self.told) and self.told[-1].state in ENDED

    @property
    def outcomes(self):
        return {update.state for update in self.told if update.state in ENDED}

    @property
    def in_hand(self):
        """Accepted, and without an outcome: what a kill can hit."""
        return self.accepted and not self.ended

    def note(self, what):
        now = time.monotonic()
        self.begun = self.begun or now
        self.history.append((now, what))
        return now

    def hear(self, update):
        self.told.append(update)
        now = self.note(api.State.Name(update.state).removeprefix("STATE_").lower())
        if self.ended:
            self.ended_at = self.ended_at or now

    def __str__(self):
        told = [[round(at, 3), what] for at, what in self.history]
        return json.dumps({"request_id": self.request_id, "history": told})


def a_request(email=None, **fields):
    request_id = str(uuid4())
    return api.SignUpRequest(
        request_id=request_id,
        email=email or f"{request_id}@example.org",
        display_name="Ada",
        **{"reveal_taken": True, **fields},
    )


@asynccontextmanager
async def clients(ports, count=1):
    """So many connections, spread over the gateways."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    targets = [f"127.0.0.1:{port}" for _, port in zip(range(count), cycle(ports), strict=False)]
    channels = [grpc.aio.insecure_channel(target, options=options) for target in targets]
    try:
        yield [SignUpServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


async def attempt(stub, sign_up):
    """Ask once, to the end of the answer. Raises the RPC's error."""
    begun = sign_up.note("attempted")
    try:
        async for update in stub.SignUp(sign_up.request, timeout=ATTEMPT):
            sign_up.hear(update)
    except grpc.aio.AioRpcError as error:
        sign_up.errors.append(error.code())
        sign_up.note(error.code().name)
        raise
    finally:
        sign_up.slowest_call = max(sign_up.slowest_call, time.monotonic() - begun)


async def sign_up(stubs, sign_up, within=60.0):
    """Ask until there is a definite answer, at any gateway, always with the same request id."""
    stubs = cycle(stubs)
    async with asyncio.timeout(within):
        for failed in count():
            if sign_up.ended:
                break
            try:
                await attempt(next(stubs), sign_up)
            except grpc.aio.AioRpcError as error:
                if error.code() not in AGAIN:
                    raise
                longest = min(BACK_OFF * 2 ** min(failed, 10), LONGEST_BACK_OFF)
                await asyncio.sleep(random.uniform(longest / 2, longest))
    return sign_up


class Load:
    """People who sign up, so many a second, for as long as the context lasts.

    At its end nobody begins any more, and everybody is waited for. Whoever got no answer in three
    minutes stays in the history without one: the checker says so.
    """

    def __init__(self, stubs, history, per_second=50.0, ask=a_request):
        self.history = history
        self._stubs = stubs
        self._per_second = per_second
        self._ask = ask
        self._waiting = {}
        """Ours without an outcome, by request id: a poll need not look at thousands."""
        self._stopping = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self):
        await self._tasks.__aenter__()
        self._tasks.create_task(self._begin_all())
        return self

    async def __aexit__(self, *error):
        self._stopping.set()
        return await self._tasks.__aexit__(*error)

    @property
    def in_hand(self):
        """How many are accepted and have no outcome yet."""
        return sum(one.in_hand for one in self._waiting.values())

    async def caught(self, within=120.0):
        """Return, as soon as somebody is accepted and waits, how many are."""
        await until(lambda: self.in_hand, within)
        return self.in_hand

    async def begun(self, number, within=900.0):
        """Return when so many have begun."""
        await until(lambda: len(self.history) >= number, within)

    async def gap(self, since, within=120.0):
        """Wait for an outcome of somebody who began after `since`; return how long it took."""
        late = takewhile(lambda one: one.begun >= since, reversed(self.history))
        first = len(self.history) - len(list(late))
        await until(lambda: any(s.ended for s in self.history[first:]), within)
        return min(s.ended_at for s in self.history[first:] if s.ended) - since

    async def _begin_all(self):
        begun = time.monotonic()
        for number in count():
            early = begun + number / self._per_second - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(early, 0)):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            one = SignUp(self._ask())
            one.note("began")
            self.history.append(one)
            self._waiting[one.request_id] = one
            self._tasks.create_task(self._sign_up(one, number))

    async def _sign_up(self, one, number):
        first = number % len(self._stubs)
        with suppress(TimeoutError):
            await sign_up([*self._stubs[first:], *self._stubs[:first]], one, ANSWERED_WITHIN)
        del self._waiting[one.request_id]


def errors_of(history):
    """How often clients were refused, and why."""
    return dict(Counter(code.name for one in history for code in one.errors))
