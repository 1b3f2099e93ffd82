"""Who may come in and how often: tokens, networks, addresses, and a door that shuts by itself."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import grpc
import pytest
from acme.gateway.v1.sign_up_pb2 import WatchSignUpRequest
from acme.users.v1 import CreateUserRequested
from clocks import Clock
from connectrpc.errors import ConnectError
from gateway.admission import Admission
from gateway.backlog import Backlog
from gateway.door import Door
from gateway.rates import Rates
from gateway.service import command
from gateway.settings import GatewaySettings
from gateway.watchers import Watchers
from gateways import USERS, a_gateway, open_door, opened, sign_up
from refused import refused
from seaway.envelope import Envelope
from seaway.errors import SettingsError
from seaway.rpc import Clients, Refusal, unavailable
from seaway.topology import DurableSpec, apply, declared
from seaway.topology.backbone import Durable
from waiting import until
from web import a_web_gateway, told

pytestmark = pytest.mark.timeout(60)

HERE, THERE = "192.0.2.0/24", "198.51.100.0/24"


@pytest.fixture
def clock():
    return Clock()


def refused_for(rates, network=HERE, email=None, request_id=None):
    """Sign somebody up; return in how many seconds to ask again, or 0."""
    request_id = request_id or str(uuid4())
    with suppress(Refusal):
        rates.admit(request_id, email or f"{request_id}@example.org", network)
        return 0
    with pytest.raises(Refusal) as caught:
        rates.admit(request_id, email or f"{request_id}@example.org", network)
    refusal = caught.value
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == "TOO_MANY_SIGN_UPS"
    return refusal.retry_after


# Rates


def test_a_network_signs_up_five_at_once_and_one_each_twelve_seconds(clock):
    rates = Rates(clock=clock)
    assert [refused_for(rates) for _ in range(6)] == [0, 0, 0, 0, 0, 12]
    assert refused_for(rates, network=THERE) == 0
    clock.now += 11
    assert refused_for(rates) == pytest.approx(1)
    clock.now += 1
    assert [refused_for(rates) for _ in range(2)] == [0, 12]


def test_and_twenty_in_an_hour(clock):
    rates = Rates(clock=clock)
    signed_up = 0
    for _ in range(100):
        signed_up += not refused_for(rates)
        clock.now += 12
    # Twenty, and one each three minutes, of which there were six.
    assert signed_up == 26
    assert refused_for(rates) > 12


def test_one_address_is_signed_up_only_so_often_from_anywhere_and_however_it_is_written(clock):
    rates = Rates(clock=clock)
    written = ["ada@example.org", "ADA@example.org", "Ada@Example.Org"] * 2
    told = [refused_for(rates, f"192.0.{n}.0/24", each) for n, each in enumerate(written)]
    assert told == [0, 0, 0, 0, 0, 12]
    written = ["ada@bücher.example", "ADA@xn--bcher-kva.example", "ada@BU\u0308CHER.example"] * 2
    told = [refused_for(rates, f"198.51.{n}.0/24", each) for n, each in enumerate(written)]
    assert told == [0, 0, 0, 0, 0, 12]
    # What was refused for the address has cost the network nothing.
    assert [refused_for(rates, "192.0.5.0/24") for _ in range(6)] == [0, 0, 0, 0, 0, 12]


def test_asking_for_the_same_again_is_free_but_with_another_address_it_is_not(clock):
    rates = Rates(clock=clock)
    request_id = str(uuid4())
    assert [refused_for(rates, HERE, "ada@example.org", request_id) for _ in range(50)] == [0] * 50
    others = [refused_for(rates, HERE, f"eve{n}@example.org", request_id) for n in range(5)]
    assert others == [0, 0, 0, 0, 12]
    assert refused_for(rates, HERE, "ada@example.org", request_id) == 0


def test_who_is_known_is_only_bound_by_the_address(clock):
    rates = Rates(clock=clock)
    assert [refused_for(rates, network=None) for _ in range(30)] == [0] * 30
    told = [refused_for(rates, None, "ada@example.org") for _ in range(6)]
    assert told == [0, 0, 0, 0, 0, 12]


@pytest.mark.parametrize(
    ("per_minute", "per_hour", "most"), [(0, 20, 200), (200, 0, 200), (9, 3, 3)]
)
def test_nothing_is_no_limit(clock, per_minute, per_hour, most):
    rates = Rates(per_minute=per_minute, per_hour=per_hour, clock=clock)
    assert sum(not refused_for(rates) for _ in range(200)) == most


def test_a_flood_from_everywhere_takes_no_more_memory_than_that(clock):
    rates = Rates(clock=clock, most=100)
    for number in range(1000):
        refused_for(rates, f"net-{number}")
    assert len(rates._buckets) == len(rates._admitted) == 100


def test_nothing_is_kept_that_tells_an_address():
    rates = Rates()
    refused_for(rates, email="canary@example.org")
    kept = repr([*rates._buckets._full_at, *rates._admitted])
    assert "canary" not in kept


async def test_the_sixth_in_a_minute_is_refused_by_either_port_and_told_when(broker):
    door = Door()
    async with (
        a_gateway(broker, door) as gateway,
        gateway.client() as client,
        a_web_gateway(broker, door) as web,
    ):
        first = sign_up(str(uuid4()), email="first@example.org")
        for request in [first, *(sign_up(str(uuid4()), email=f"{n}@x.org") for n in range(4))]:
            await opened(client, request)
        with refused() as said:
            await client.SignUp(sign_up(str(uuid4()), email="sixth@x.org")).read()
        assert (said.code, said.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_SIGN_UPS")
        assert 11 < said.retry_after <= 12
        await opened(client, first)
        with pytest.raises(ConnectError) as caught:
            await anext(web.client().call("SignUp", sign_up(str(uuid4()), email="by-web@x.org")))
        assert told(caught.value).reason == "TOO_MANY_SIGN_UPS"


async def test_behind_a_proxy_that_is_trusted_each_network_counts_for_itself(broker):
    door = Door(clients=Clients.behind("127.0.0.0/8"))
    async with a_gateway(broker, door) as gateway, gateway.client() as client:
        for network in (2, 3):
            for number in range(5):
                email = f"{network}-{number}@example.org"
                came_by = [("x-forwarded-for", f"192.0.{network}.{number}")]
                call = client.SignUp(sign_up(str(uuid4()), email=email), metadata=came_by)
                assert (await call.read()).request_id
        with refused() as said:
            late = sign_up(str(uuid4()), email="late@example.org")
            await client.SignUp(late, metadata=[("x-forwarded-for", "192.0.2.200")]).read()
        assert said.reason == "TOO_MANY_SIGN_UPS"


async def test_whoever_asks_again_for_what_is_accepted_watches_and_is_counted_so(broker):
    door = Door(Watchers(at_once=3, per_client=2))
    async with a_gateway(broker, door) as gateway, gateway.client() as client:
        ada = sign_up(str(uuid4()), email="ada@example.org")
        held = [await opened(client, ada) for _ in range(3)]  # the first is no watcher
        with refused() as said:
            await client.SignUp(ada).read()
        assert (said.code, said.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
        await opened(client, sign_up(str(uuid4()), email="grace@example.org"))
        for call, _ in held[1:]:
            call.cancel()
        await until(lambda: gateway.flow.watching == 2)
        await opened(client, ada)


async def test_a_repeat_reaches_no_batch_of_the_others(broker, monkeypatch):
    async with a_gateway(broker, Door()) as gateway, gateway.client() as client:
        ada = sign_up(str(uuid4()), email="ada@example.org")
        _, accepted = await opened(client, ada)
        monkeypatch.setattr(broker, "publish", None)
        assert (await opened(client, ada))[1] == accepted
        with refused() as said:
            await client.SignUp(
                sign_up(ada.request_id, email="ada@example.org", locale="de")
            ).read()
        assert said.reason == "REQUEST_ID_REUSED"


async def test_what_is_malformed_costs_nothing(broker):
    async with a_gateway(broker, Door()) as gateway, gateway.client() as client:
        for _ in range(10):
            with refused() as said:
                await client.SignUp(sign_up(str(uuid4()), email="ada")).read()
            assert said.reason == "INVALID_REQUEST"
        await opened(client, sign_up(str(uuid4())))


# Who may ask


@pytest.mark.parametrize("by", ["gRPC", "web"])
async def test_without_a_certificate_nobody_is_told_that_an_address_is_taken(broker, by):
    asked = sign_up(str(uuid4()), reveal_taken=True)
    async with a_gateway(broker, Door()) as gateway, gateway.client() as client:
        with refused() as said:
            await client.SignUp(asked).read()
    assert (said.code, said.reason) == ("PERMISSION_DENIED", "REVEAL_TAKEN_DENIED")
    async with a_web_gateway(broker, Door()) as web:
        with pytest.raises(ConnectError) as caught:
            await anext(web.client().call("SignUp", asked))
    assert told(caught.value).reason == "REVEAL_TAKEN_DENIED"
    assert (await broker.streams())["USERS"].bytes == 0


# The backlog


def seen(pending, *, deliveries=0, delivered=0):
    return Durable({}, pending, 0, 0, delivered, deliveries=deliveries)


def aged(*looks):
    """Return the age of a backlog that was looked at every two seconds."""
    backlog = Backlog()
    for number, look in enumerate(looks):
        backlog.note(look, 2.0 * number)
    return backlog.age


def test_nothing_waits_nothing_is_old():
    assert aged(seen(0), seen(0), seen(0)) == 0
    assert aged(seen(3), seen(3), seen(0, deliveries=3, delivered=9)) == 0
    assert aged() == 0


def test_while_nothing_is_delivered_what_waits_grows_old():
    assert aged(seen(0), *(seen(n) for n in range(1, 32))) == 60


def test_a_queue_is_as_old_as_its_head():
    # Ten come and five are begun between two looks: the head falls back by one look in two.
    looks = [seen(5 * n, deliveries=5 * n, delivered=100 + 5 * n) for n in range(1, 41)]
    assert 30 <= aged(*looks) <= 44


def test_in_a_queue_that_flows_nothing_is_old_however_long_it_has_been_there():
    flowing = [seen(100, deliveries=200 * n, delivered=200 * n) for n in range(100)]
    assert aged(*flowing) == 0


def test_what_is_tried_again_and_again_is_no_progress_and_no_queue():
    probing = [seen(3, deliveries=5 * n, delivered=7) for n in range(31)]
    assert aged(*probing) == 60
    poison = [seen(0, deliveries=5 * n, delivered=7) for n in range(31)]
    assert aged(*poison) == 0


def test_a_durable_that_was_wound_back_or_made_anew_begins_anew():
    looks = [seen(9, deliveries=50, delivered=70)] * 20
    assert aged(*looks, seen(900, deliveries=0, delivered=0)) == 0
    assert aged(*looks, seen(900, deliveries=51, delivered=1)) == 0


def test_how_long_it_will_take_is_said_as_far_as_it_is_known():
    backlog = Backlog()
    assert backlog.clears_in == 30
    for number in range(11):  # 100 at first, and one each second
        backlog.note(
            seen(100 - 2 * number, deliveries=2 * number, delivered=2 * number), 2 * number
        )
    assert backlog.clears_in == 60
    backlog.note(seen(20, deliveries=60, delivered=60), 22.0)
    assert backlog.clears_in == pytest.approx(20 * 22 / 60)
    backlog.note(seen(1, deliveries=99, delivered=99), 24.0)
    assert backlog.clears_in == 1


def handles(name, *subjects):
    return DurableSpec(name, name, "USERS", subjects, "beginning", 5, 9)


async def test_the_door_shuts_when_requests_wait_too_long_and_opens_when_they_are_begun(broker):
    requested = "users.v1.create-requested.*"
    both = handles("projection", requested, "users.v1.create-confirmed.*")
    owner = handles("owner", requested, "users.v1.redrive.owner.*")
    await apply(broker, declared([USERS], [both, owner]))
    admission = Admission(broker, CreateUserRequested, longest=0.05)
    door = open_door(no_room=admission.refusal)
    async with a_gateway(broker, door) as gateway, gateway.client() as client:
        await admission.look()
        waiting = sign_up(str(uuid4()))
        await opened(client, waiting)

        async def shut():
            await admission.look()
            return admission.refusal()

        await until(shut)
        with refused() as said:
            await client.SignUp(sign_up(str(uuid4()))).read()
        assert (said.code, said.reason, said.retry_after) == ("UNAVAILABLE", "BACKLOG", 30)
        await opened(client, waiting)  # of those who are in, nobody is turned away
        async with broker.pull("USERS", "owner") as pull:
            [delivery] = await pull.fetch(1, 5.0)
            await admission.look()
            await opened(client, sign_up(str(uuid4())))  # begun is enough
            await delivery.ack()


async def test_who_only_listens_and_is_away_shuts_no_door(broker):
    """Nor does a listener that keeps up hide that the owner does not."""
    requested = "users.v1.create-requested.*"
    await apply(broker, declared([USERS], [handles(name, requested) for name in ("a", "b")]))
    admission = Admission(broker, CreateUserRequested, longest=0.05)
    await broker.publish([Envelope.opening(command(sign_up(str(uuid4()))), "test").posting()])
    async with broker.pull("USERS", "b") as pull:
        await pull.fetch(1, 5.0)
    for _ in range(3):
        await admission.look()
        await asyncio.sleep(0.05)
    assert admission.refusal() is None
    await broker.delete_durable("USERS", "b")
    await admission.look()
    assert admission.refusal().reason == "BACKLOG"


async def test_however_long_it_waits_if_that_is_what_was_set(broker):
    admission = Admission(broker, CreateUserRequested, longest=0)
    admission.backlog.note(seen(1), 0.0)
    admission.backlog.note(seen(1), 10_000.0)
    assert admission.refusal() is None
    assert replace(Door(), no_room=lambda: unavailable("BACKLOG", "x")).no_room()


# Settings


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("TRUSTED_PROXIES", "10.0.0.0/8, 10.1.0.0/16", "is no network"),
        ("TRUSTED_PROXIES", "the-proxy", "'the-proxy' is no network such as 10.0.0.0/8"),
        ("SIGN_UPS_PER_MINUTE", "-1", "greater than or equal to 0"),
        ("BACKLOG_SECONDS", "soon", "valid number"),
        ("REVEAL_TAKEN", "yes", "'certificate' or 'anybody'"),
    ],
)
def test_what_cannot_be_set_is_said(monkeypatch, setting, value, said):
    monkeypatch.setenv(f"SEAWAY_{setting}", value)
    with pytest.raises(SettingsError, match=f"SEAWAY_{setting}: .*{said}"):
        GatewaySettings.from_environment()


def test_in_production_not_anybody_may_ask(monkeypatch):
    monkeypatch.setenv("SEAWAY_REVEAL_TAKEN", "anybody")
    assert GatewaySettings.from_environment().reveal_taken == "anybody"
    monkeypatch.setenv("SEAWAY_PRODUCTION", "true")
    with pytest.raises(SettingsError, match="for your own machine"):
        GatewaySettings.from_environment()


async def test_whoever_watches_is_counted_by_network(broker):
    door = open_door(clients=Clients.behind("127.0.0.0/8"))
    async with a_gateway(broker, door, heartbeat=0.01) as gateway, gateway.client() as client:
        request = WatchSignUpRequest(request_id=str(uuid4()))

        def watch(host):
            return client.WatchSignUp(request, metadata=[("x-forwarded-for", host)])

        calls = [watch(f"192.0.2.{number}") for number in range(5)]
        for call in calls:
            await call.read()
        with refused() as said:
            await watch("192.0.2.99").read()
        assert said.reason == "TOO_MANY_WATCHERS"
        await watch("192.0.3.1").read()
