"""TLS on both ports, from files that change while streams are open."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from acme.gateway.v1 import GetSignUpRequest, SignUpRequest, SignUpUpdate
from acme.gateway.v1.sign_up_pb2 import DESCRIPTOR
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from authorities import Mounted, Person
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from seaway.errors import SettingsError
from seaway.rpc import Certificates, RpcServer, is_verified
from seaway.rpc.web import WebServer
from structlog.testing import capture_logs
from web import JSON, PATH, framed

SERVICE = DESCRIPTOR.services_by_name["SignUpService"]
STREAM = {"content-type": "application/connect+json"}


class Servicer:
    """Says whether it knows the caller, and goes on with a stream when it is told to."""

    def __init__(self):
        self._streams = []

    def go_on(self):
        """Have each stream tell once more, whether it waits for that yet or not."""
        for stream in self._streams:
            stream.release()

    async def GetSignUp(self, request, context):  # noqa: N802 - gRPC's name
        return SignUpUpdate(reason="known" if is_verified(context) else "unknown")

    async def SignUp(self, request, context):  # noqa: N802
        more = asyncio.Semaphore(0)
        self._streams.append(more)
        while True:
            yield SignUpUpdate(reason="known" if is_verified(context) else "unknown")
            await more.acquire()

    WatchSignUp = SignUp


@pytest.fixture(scope="module")
def authorities():
    """Three that do not know each other."""
    return [trustme.CA() for _ in range(3)]


@pytest.fixture
def mounted(tmp_path):
    return Mounted(tmp_path)


@asynccontextmanager
async def serving(mounted, *, knows_clients):
    servicer = Servicer()
    certificates = Certificates(*mounted.files[: 3 if knows_clients else 2])
    async with (
        RpcServer({SERVICE: servicer}, certificates=certificates) as server,
        WebServer({SERVICE: servicer}, certificates=certificates) as web,
    ):
        yield servicer, server.port, web.port


async def by_grpc(person, port):
    """What the server says of somebody; None: it does not speak to him."""
    async with person.channel(port) as channel:
        try:
            answer = await SignUpServiceStub(channel).GetSignUp(GetSignUpRequest(), timeout=20)
        except grpc.aio.AioRpcError:
            return None
        return answer.reason


async def by_web(person, port):
    async with person.http(port) as http:
        try:
            answer = await http.post(f"{PATH}/GetSignUp", json={}, headers=JSON)
        except httpx.TransportError:
            return None
        return answer.json()["reason"]


async def seen(person, ports):
    return [await by_grpc(person, ports[0]), await by_web(person, ports[1])]


async def test_whoever_trusts_us_is_served_and_nobody_in_plain_text(mounted, authorities):
    ours, other, _ = authorities
    mounted.mount(ours)
    async with serving(mounted, knows_clients=False) as (_, *ports):
        assert await seen(Person(ours), ports) == ["unknown"] * 2
        assert await seen(Person(other), ports) == [None, None]
        # Who shows a certificate is not asked for one, so it makes him nobody.
        assert await seen(Person(ours, known_by=ours), ports) == ["unknown"] * 2
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await SignUpServiceStub(channel).GetSignUp(GetSignUpRequest(), timeout=20)
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://127.0.0.1:{ports[1]}/")


async def test_clients_are_known_by_a_certificate_of_the_right_authority(mounted, authorities):
    ours, theirs, other = authorities
    mounted.mount(ours, client_ca=theirs)
    async with serving(mounted, knows_clients=True) as (_, *ports):
        assert await seen(Person(ours, known_by=theirs), ports) == ["known"] * 2
        assert await seen(Person(ours, known_by=other), ports) == [None, None]
        # A browser has none, and is served; by gRPC everybody needs one.
        assert await seen(Person(ours), ports) == [None, "unknown"]


async def test_new_files_are_used_for_who_connects_then_and_streams_go_on(mounted, authorities):
    ours, theirs, other = authorities
    mounted.mount(ours, client_ca=theirs)
    before, after = Person(ours, known_by=theirs), Person(other, known_by=ours)
    async with (
        serving(mounted, knows_clients=True) as (servicer, *ports),
        before.channel(ports[0]) as channel,
        before.http(ports[1]) as http,
    ):
        by_rpc = SignUpServiceStub(channel).SignUp(SignUpRequest())
        assert (await by_rpc.read()).reason == "known"
        asked = http.stream("POST", f"{PATH}/SignUp", content=framed({}), headers=STREAM)
        async with asked as answer:
            told = answer.aiter_bytes()
            assert b"known" in await anext(told)
            assert await seen(after, ports) == [None, None]
            mounted.mount(other, client_ca=ours)
            assert await seen(after, ports) == ["known"] * 2
            assert await seen(Person(ours, known_by=theirs), ports) == [None, None]
            for _ in range(3):
                servicer.go_on()
                assert (await by_rpc.read()).reason == "known"
                assert b"known" in await anext(told)
        by_rpc.cancel()


async def test_files_that_do_not_fit_are_not_used_and_that_is_said_once(mounted, authorities):
    ours, _, other = authorities
    mounted.mount(ours)
    async with serving(mounted, knows_clients=False) as (_, *ports):
        assert await seen(Person(ours), ports) == ["unknown"] * 2
        with capture_logs() as logs:
            mounted.mount(other, key_of=ours.issue_cert("127.0.0.1"))
            for _ in range(2):
                assert await seen(Person(ours), ports) == ["unknown"] * 2
            mounted.lose_the_key()
            for _ in range(2):
                assert await seen(Person(ours), ports) == ["unknown"] * 2
        assert [each["event"] for each in logs] == [
            "certificates cannot be read; the last stay"
        ] * 2
        mounted.mount(other)
        assert await seen(Person(other), ports) == ["unknown"] * 2


@pytest.mark.parametrize("server", [RpcServer, WebServer])
@pytest.mark.parametrize("wrong", ["missing", "another key", "no certificate", "encrypted"])
async def test_files_that_never_fitted_are_named_and_nothing_is_served(
    mounted, authorities, server, wrong
):
    mounted.mount(authorities[0])
    certificate, key = map(Path, mounted.files[:2])
    match wrong:
        case "missing":
            key.unlink()
        case "another key":
            mounted.mount(authorities[0], key_of=authorities[1].issue_cert("127.0.0.1"))
        case "no certificate":
            certificate.write_text("hello")
        case "encrypted":
            plain = load_pem_private_key(key.read_bytes(), None)
            secret = BestAvailableEncryption(b"secret")
            form = (Encoding.PEM, PrivateFormat.PKCS8)
            key.write_bytes(plain.private_bytes(*form, secret))
    with pytest.raises(SettingsError, match=f"no certificate and key that fit: .*{key}"):
        await server(
            {SERVICE: Servicer()}, certificates=Certificates(str(certificate), str(key))
        ).__aenter__()
