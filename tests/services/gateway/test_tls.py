"""A gateway with TLS: who is told that an address is taken, and what its settings refuse."""

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import trustme
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from authorities import Mounted, Person
from development import environment
from gateway.door import Door
from gateway.service import SERVICE, SignUps, sign_up_flow
from gateway.settings import GatewaySettings
from gateways import opened, rejected, rest, say, sign_up, until
from refused import refused
from seaway.errors import SettingsError
from seaway.rpc import Certificates, RpcServer
from seaway.rpc.web import WebServer
from web import PATH, framed

pytestmark = pytest.mark.timeout(60)

STREAM = {"content-type": "application/connect+json"}
ADA = ("--email", "ada@example.org", "--name", "Ada", "--reveal-taken")


@pytest.fixture(scope="module")
def ours():
    return trustme.CA()


@pytest.fixture
def mounted(tmp_path, ours):
    mounted = Mounted(tmp_path)
    mounted.mount(ours)
    return mounted


@asynccontextmanager
async def a_tls_gateway(broker, *files):
    """Both ports, and the door that is the default."""
    certificates = Certificates(*files)
    async with sign_up_flow(broker) as flow:
        sign_ups = {SERVICE: SignUps(flow, Door())}
        async with (
            RpcServer(sign_ups, certificates=certificates) as server,
            WebServer(sign_ups, certificates=certificates) as web,
        ):
            yield flow, server.port, web.port


async def by_web(person, port, request):
    asked = {"requestId": request.request_id, "email": request.email, "displayName": "Ada"}
    body = framed(asked | {"revealTaken": True})
    async with person.http(port) as http:
        return (await http.post(f"{PATH}/SignUp", content=body, headers=STREAM)).text


async def test_who_is_known_is_told_that_an_address_is_taken_by_either_port(broker, mounted, ours):
    person = Person(ours, known_by=ours)
    async with a_tls_gateway(broker, *mounted.files) as (flow, port, web_port):
        async with person.channel(port) as channel:
            asked = sign_up(str(uuid4()), reveal_taken=True)
            call, _ = await opened(SignUpServiceStub(channel), asked)
            await say(broker, asked.request_id, rejected(asked.request_id))
            assert [update.reason for update in await rest(call)] == ["EMAIL_TAKEN"]
        asked = sign_up(str(uuid4()))
        told = asyncio.create_task(by_web(person, web_port, asked))
        await until(lambda: flow.watching)
        async with person.channel(port) as channel:
            await opened(SignUpServiceStub(channel), sign_up(asked.request_id, locale=""))
        await say(broker, asked.request_id, rejected(asked.request_id))
        assert "EMAIL_TAKEN" in await told


async def test_who_is_not_known_is_not(broker, mounted, ours):
    stranger = Person(ours)
    async with a_tls_gateway(broker, *mounted.files) as (_, _, web_port):
        told = await by_web(stranger, web_port, sign_up(str(uuid4())))
        assert "permission_denied" in told
    async with a_tls_gateway(broker, *mounted.files[:2]) as (_, port, _):
        # A certificate that nobody asks for is none.
        async with Person(ours, known_by=ours).channel(port) as channel:
            with refused() as said:
                asked = sign_up(str(uuid4()), reveal_taken=True)
                await SignUpServiceStub(channel).SignUp(asked).read()
        assert said.reason == "REVEAL_TAKEN_DENIED"


async def test_who_is_known_signs_up_more_than_five(broker, mounted, ours):
    async with (
        a_tls_gateway(broker, *mounted.files) as (_, port, _),
        Person(ours, known_by=ours).channel(port) as channel,
    ):
        for number in range(8):
            request = sign_up(str(uuid4()), email=f"{number}@example.org")
            await opened(SignUpServiceStub(channel), request)


async def test_the_command_shows_who_we_are(broker, mounted, ours, command, tmp_path, request_id):
    options = Person(ours, known_by=ours).write(tmp_path)
    async with a_tls_gateway(broker, *mounted.files) as (_, port, _):
        at = ("--target", f"127.0.0.1:{port}", "--request-id", request_id)
        async with command(*ADA, *at, *options) as ada:
            assert (await ada.line()).split()[0] == "ACCEPTED"
            await say(broker, request_id, rejected(request_id))
            code, [line], _ = await ada.end()
        assert (code, line.split()[-1]) == (4, "EMAIL_TAKEN")
        async with command(*ADA, *at, *options[:2], "--timeout", "2") as ada:
            code, lines, [sentence, again] = await ada.end()
    assert (code, lines) == (3, [])
    assert f"no gateway at 127.0.0.1:{port}, or none that we trust and that trusts us" in sentence
    assert again.endswith(" ".join(options[:2]))


@pytest.mark.parametrize(
    "wrong", [("--cert", "mine--ca.pem"), ("--key", "mine--ca.pem"), ("--ca", "nowhere.pem")]
)
async def test_a_certificate_without_its_key_is_wrong_usage(command, tmp_path, ours, wrong):
    Person(ours).write(tmp_path)
    async with command(*ADA, *wrong) as ada:
        code, _, complaints = await ada.end()
    assert code == 2
    assert re.search("needs its key|does not exist", " ".join(complaints))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TLS_CERTIFICATE_FILE": "a"}, "SEAWAY_TLS_KEY_FILE: a certificate needs its key"),
        ({"TLS_KEY_FILE": "a"}, "SEAWAY_TLS_KEY_FILE: a certificate needs its key"),
        ({"TLS_CLIENT_CA_FILE": "a"}, "SEAWAY_TLS_CLIENT_CA_FILE: clients are known only where"),
        (
            {"TLS_CERTIFICATE_FILE": "a", "TLS_KEY_FILE": "b", "REVEAL_TAKEN": "anybody"},
            "SEAWAY_REVEAL_TAKEN: 'anybody' is for your own machine, and TLS is on",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(monkeypatch, settings, said):
    for name, value in settings.items():
        monkeypatch.setenv(f"SEAWAY_{name}", value)
    with pytest.raises(SettingsError, match=said):
        GatewaySettings.from_environment()


async def test_a_gateway_whose_files_do_not_fit_ends_with_78(server, broker, mounted, ours):
    mounted.mount(ours, key_of=ours.issue_cert("127.0.0.1"))
    certificate, key, _ = mounted.files
    settings = {"SEAWAY_NATS_URL": server.url, "SEAWAY_METRICS_PORT": "0"}
    settings |= {"SEAWAY_TLS_CERTIFICATE_FILE": certificate, "SEAWAY_TLS_KEY_FILE": key}
    settings |= {"SEAWAY_GRPC_PORT": "0", "SEAWAY_WEB_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        env=environment() | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 78
    assert f"no certificate and key that fit: {certificate}, {key}" in complained.decode()
