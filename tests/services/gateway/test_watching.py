"""Waiting, resuming, leaving, and what happens when the broker is away."""

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from urllib.parse import urlsplit
from uuid import uuid4

import grpc
import pytest
from acme.gateway.v1.sign_up_pb2 import (
    STATE_ACCEPTED,
    STATE_CONFIRMED,
    STATE_PENDING,
    GetSignUpRequest,
    SignUpUpdate,
    WatchSignUpRequest,
)
from acme.users.v1 import CreateUserRequested
from gateway.__main__ import limits_of
from gateway.admission import Admission
from gateway.client import Client
from gateway.settings import GatewaySettings
from gateway.watchers import Watchers
from gateways import (
    USERS,
    a_gateway,
    confirmed,
    open_door,
    opened,
    quiet,
    rest,
    say,
    sign_up,
    until,
)
from late import call_too_late
from proxy import Proxy
from refused import refused
from seaway.contract import address_of
from seaway.jetstream import JetStream
from seaway.rpc import Refusal
from seaway.rpc.call import FULL, TOO_LATE
from seaway.topology import stream_config

pytestmark = pytest.mark.timeout(30)


async def test_a_sign_up_resumes_at_another_gateway(broker, request_id):
    async with a_gateway(broker) as here, here.client() as client:
        _, accepted = await opened(client, sign_up(request_id))
    # That gateway is gone, and the client with its token goes to another.
    async with a_gateway(broker) as there, there.client() as client:
        token = accepted.resume_token
        watch = client.WatchSignUp(WatchSignUpRequest(request_id=request_id, resume_token=token))
        await say(broker, request_id, confirmed(request_id))
        assert [update.state for update in await rest(watch)] == [STATE_CONFIRMED]
        whole = client.WatchSignUp(WatchSignUpRequest(request_id=request_id))
        states = [update.state for update in await rest(whole)]
        assert states == [STATE_ACCEPTED, STATE_CONFIRMED]


async def test_who_has_seen_the_end_is_not_kept_waiting(broker, client, request_id):
    await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    request = WatchSignUpRequest(request_id=request_id, resume_token="2")
    assert await rest(client.WatchSignUp(request)) == []


async def test_who_brings_a_token_that_is_not_ours_is_told_everything(broker, client, request_id):
    await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    request = WatchSignUpRequest(request_id=request_id, resume_token="40017")
    states = [update.state for update in await rest(client.WatchSignUp(request))]
    assert states == [STATE_ACCEPTED, STATE_CONFIRMED]


async def test_whoever_watches_may_come_before_the_request(broker, gateway, client, request_id):
    watch = client.WatchSignUp(WatchSignUpRequest(request_id=request_id))
    waiting = asyncio.create_task(rest(watch))
    await until(lambda: gateway.flow.watching)
    await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    assert [update.state for update in await waiting] == [STATE_ACCEPTED, STATE_CONFIRMED]


async def test_a_quiet_stream_repeats_the_last_state(broker, request_id):
    async with a_gateway(broker, heartbeat=0.05) as gateway, gateway.client() as client:
        watch = client.WatchSignUp(WatchSignUpRequest(request_id=request_id))
        nothing_yet = SignUpUpdate(request_id=request_id, state=STATE_PENDING)
        assert [await watch.read(), await watch.read()] == [nothing_yet] * 2
        call, accepted = await opened(client, sign_up(request_id))
        assert [await call.read(), await call.read()] == [accepted] * 2
        resuming = WatchSignUpRequest(request_id=request_id, resume_token=accepted.resume_token)
        assert await client.WatchSignUp(resuming).read() == accepted


async def test_an_outcome_of_which_the_gateway_was_not_told_is_found(broker, client, request_id):
    await broker.put_stream({**stream_config(USERS, replicas=1), "republish": None})
    call, _ = await opened(client, sign_up(request_id))
    await say(broker, request_id, confirmed(request_id))
    assert (await call.read()).state == STATE_CONFIRMED


async def test_a_stream_outlasts_a_restart_of_the_broker(server, broker, client, request_id):
    call, _ = await opened(client, sign_up(request_id))
    await server.restart()
    await broker.connected()
    await say(broker, request_id, confirmed(request_id))
    assert (await call.read()).state == STATE_CONFIRMED


@pytest.mark.parametrize("absence", ["killed", "silent"])
async def test_while_the_broker_is_away_nothing_is_accepted(
    server, broker, client, request_id, absence
):
    await opened(client, sign_up(str(uuid4())))
    await server.kill() if absence == "killed" else server.pause()
    began = time.monotonic()
    with refused() as told:
        await client.SignUp(sign_up(request_id)).read()
    assert (told.code, told.reason) == ("UNAVAILABLE", "BROKER_UNAVAILABLE")
    assert told.retry_after > 0
    with refused() as told:
        await client.GetSignUp(GetSignUpRequest(request_id=request_id))
    assert (told.code, told.reason) == ("UNAVAILABLE", "BROKER_UNAVAILABLE")
    assert time.monotonic() - began < 2.5  # for both: each within 1 s, on a busy machine
    await server.start() if absence == "killed" else server.resume()


async def test_a_broker_in_another_region_is_no_broker_that_is_away(server, broker, request_id):
    """A quarter of a second each way. Whoever asks again, as a real client, is served, too."""
    async with (
        Proxy(urlsplit(server.url).port) as link,
        JetStream(f"nats://127.0.0.1:{link.port}", "gateway") as far,
        a_gateway(far) as gateway,
    ):
        link.delay = 0.25
        first, second = (
            Client(f"127.0.0.1:{gateway.port}", sign_up(request_id)) for _ in range(2)
        )
        async with aclosing(first.updates()) as updates:
            assert (await anext(updates)).state == STATE_ACCEPTED
        await say(broker, request_id, confirmed(request_id))
        told = [update.state async for update in second.updates()]
        assert told == [STATE_ACCEPTED, STATE_CONFIRMED]


class Slow(JetStream):
    """Stores nothing before it was asked something; the event loop has its turns meanwhile."""

    async def publish(self, postings):
        self.is_asked = asyncio.Event()
        await self.is_asked.wait()
        return await super().publish(postings)

    async def read(self, stream, subject):
        self.asked = [*getattr(self, "asked", []), subject]
        self.is_asked.set()
        return await super().read(stream, subject)


@pytest.mark.usefixtures("broker")
async def test_a_slow_broker_is_asked_one_thing_to_see_that_it_is_there(server, request_id):
    async with Slow(server.url, "gateway") as slow, a_gateway(slow) as gateway:
        asking = Client(f"127.0.0.1:{gateway.port}", sign_up(request_id))
        async with aclosing(asking.updates()) as updates:
            assert (await anext(updates)).state == STATE_ACCEPTED
        # Once for each try, of which a busy machine may need more than one.
        assert set(slow.asked) == {address_of(CreateUserRequested).subject_for(request_id)}


async def test_who_came_too_late_asks_again(broker, request_id):
    late = [TOO_LATE]
    door = open_door(no_room=lambda: late.pop() if late else None)
    async with a_gateway(broker, door) as gateway:
        asking = Client(f"127.0.0.1:{gateway.port}", sign_up(request_id))
        async with aclosing(asking.updates()) as updates:
            assert (await anext(updates)).state == STATE_ACCEPTED
    assert (late, asking.said) == ([], "the time was over before it was done")


async def test_a_full_stream_takes_no_requests_but_tells_of_those_it_has(broker, request_id):
    full = None
    async with (
        a_gateway(broker, open_door(no_room=lambda: full)) as gateway,
        gateway.client() as client,
    ):
        await opened(client, sign_up(request_id))
        full = FULL
        with refused() as told:
            await client.SignUp(sign_up(str(uuid4()))).read()
        assert (told.code, told.reason) == ("UNAVAILABLE", "STREAM_FULL")
        assert told.retry_after > 0
        await opened(client, sign_up(request_id))


async def test_the_last_fifth_of_a_stream_is_for_outcomes(server, broker, client):
    await broker.put_stream({**stream_config(USERS, replicas=1), "max_bytes": 100_000})
    admission = Admission(broker, CreateUserRequested)
    while (kept := (await broker.streams())["USERS"].bytes) < 80_000:
        await admission.look()
        assert not admission.refusal(), kept
        call, _ = await opened(client, sign_up(str(uuid4()), display_name="x" * 100))
        call.cancel()
    await admission.look()
    assert admission.refusal().reason == "STREAM_FULL"
    await server.kill()
    await admission.look()
    assert admission.refusal().reason == "STREAM_FULL"


async def test_how_full_it_is_is_known_by_itself(broker, client):
    await opened(client, sign_up(str(uuid4())))
    kept = (await broker.streams())["USERS"].bytes
    await broker.put_stream({**stream_config(USERS, replicas=1), "max_bytes": kept})
    async with Admission(broker, CreateUserRequested) as admission:
        await until(admission.refusal)


async def test_one_client_watches_only_so_much_at_once_and_may_still_sign_up(broker):
    door = open_door(watchers=Watchers(at_once=0, per_client=2))
    async with a_gateway(broker, door, heartbeat=0.01) as gateway, gateway.client() as client:
        request = WatchSignUpRequest(request_id=str(uuid4()))
        watching = [client.WatchSignUp(request) for _ in range(2)]
        for call in watching:
            await call.read()
        with refused() as told:
            await client.WatchSignUp(request).read()
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
        assert told.retry_after > 0
        sign_up_call, _ = await opened(client, sign_up(str(uuid4())))
        sign_up_call.cancel()
        for call in watching:
            call.cancel()
        await quiet(gateway.flow)
        assert (await client.WatchSignUp(request).read()).state == STATE_PENDING


def test_all_clients_together_watch_only_so_much():
    watchers = Watchers(at_once=2, per_client=0)
    with (
        watchers.admit("192.0.1.0/24"),
        watchers.admit("192.0.2.0/24"),
        pytest.raises(Refusal, match="as many watch"),
    ):
        watchers.admit("192.0.3.0/24").__enter__()
    with watchers.admit("192.0.3.0/24"):
        pass


async def test_a_thousand_cancelled_calls_and_closed_connections_leave_no_watcher(broker):
    many, accepted = {"streams_per_connection": 100, "calls": 0}, []
    door = open_door(watchers=Watchers(at_once=0, per_client=0))
    async with a_gateway(broker, door, **many) as gateway:

        async def leave(is_cancelled):
            async with gateway.client() as client:
                calls = [client.SignUp(sign_up(str(uuid4()))) for _ in range(25)]
                answers = (call.read() for call in calls)
                told = await asyncio.gather(*answers, return_exceptions=True)
                # On a busy machine the broker is slow, and some are told to ask again.
                accepted.extend(each for each in told if isinstance(each, SignUpUpdate))
                watch = WatchSignUpRequest(request_id=str(uuid4()))
                calls += [client.WatchSignUp(watch) for _ in range(25)]
                await until(lambda: gateway.flow.watching >= 25)
                for call in calls if is_cancelled else ():
                    call.cancel()

        for _ in range(5):
            await asyncio.gather(*(leave(is_cancelled) for is_cancelled in [True, False] * 2))
        await quiet(gateway.flow)
    assert len(accepted) > 250


async def test_an_abandoned_stream_goes_at_its_greatest_age(broker, request_id):
    async with a_gateway(broker, stream_seconds=2) as gateway, gateway.client() as client:
        call, _ = await opened(client, sign_up(request_id))
        assert gateway.flow.watching == 1
        began = time.monotonic()
        await quiet(gateway.flow)  # nobody reads, cancels or closes anything
        assert 1 < time.monotonic() - began < 4
        with refused() as told:
            await call.read()
        assert (told.code, told.reason) == ("UNAVAILABLE", "RESUME")


async def test_a_clients_deadline_ends_its_stream_here_too(gateway, client, request_id):
    call = client.SignUp(sign_up(request_id), timeout=0.5)
    assert (await call.read()).state == STATE_ACCEPTED
    with refused() as told:
        await call.read()
    assert told.code == "DEADLINE_EXCEEDED"
    await quiet(gateway.flow)


async def test_what_comes_too_late_is_not_published(broker, gateway, client, request_id):
    request = sign_up(request_id)
    code = await call_too_late(gateway.port, lambda stub, s: stub.SignUp(request, timeout=s))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    await opened(client, sign_up(str(uuid4())))  # begun after it, and stored
    subject = address_of(CreateUserRequested).subject_for(request_id)
    assert await broker.read("USERS", subject) is None


async def test_a_gateway_that_stops_sends_its_clients_elsewhere(broker, request_id):
    async with AsyncExitStack() as stack, a_gateway(broker) as there:
        here = await stack.enter_async_context(a_gateway(broker))
        async with here.client() as client, there.client() as elsewhere:
            call, accepted = await opened(client, sign_up(request_id))
            stopping = asyncio.create_task(stack.aclose())
            with refused() as told:
                await call.read()
            assert (told.code, told.reason) == ("UNAVAILABLE", "RESUME")
            assert told.retry_after > 0
            await stopping
            assert here.flow.watching == 0
            again = WatchSignUpRequest(request_id=request_id, resume_token=accepted.resume_token)
            watch = elsewhere.WatchSignUp(again)
            await say(broker, request_id, confirmed(request_id))
            assert (await watch.read()).state == STATE_CONFIRMED


@pytest.mark.parametrize(("watchers", "calls"), [(500, 2500), (5000, 7000), (0, 0)])
def test_who_watches_takes_no_place_from_who_signs_up(watchers, calls):
    assert limits_of(GatewaySettings(watchers=watchers)).calls == calls
