"""The web port as a server: what it bounds, what it refuses, and what it never says."""

import asyncio
import gzip
import json

import pytest
from acme.gateway.v1 import GetSignUpRequest, SignUpRequest, SignUpUpdate
from connectrpc.errors import ConnectError
from development import is_free
from gateway.settings import GatewaySettings
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool
from prometheus_client import REGISTRY
from seaway.errors import ContractError, SettingsError
from seaway.messaging.v1 import options_pb2
from seaway.rpc import Limits
from seaway.rpc.web import WebServer
from structlog.testing import capture_logs
from waiting import until
from web import JSON, PATH, PROTOCOLS, SERVICE, framed, serving, told

pytestmark = pytest.mark.timeout(60)

SECRET = "ada@example.org"


class Servicer:
    """Answers as it is told to."""

    def __init__(self, answer=None):
        self.answer = answer
        self.calls = 0
        self.begun = asyncio.Event()
        self.contexts = []

    async def GetSignUp(self, request, context):  # noqa: N802 - gRPC's name
        self.calls += 1
        self.contexts.append(context)
        self.begun.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer(request) if self.answer else SignUpUpdate()

    async def SignUp(self, request, context):  # noqa: N802
        self.calls += 1
        for number in range(1000):
            yield SignUpUpdate(resume_token=str(number))

    WatchSignUp = SignUp


async def test_a_fast_stream_arrives_whole_and_in_order():
    async with serving(Servicer()) as web:
        updates = web.client().call("SignUp", SignUpRequest())
        tokens = [int(update.resume_token) async for update in updates]
    assert tokens == list(range(1000))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_of_20_kilobytes_is_refused(protocol):
    servicer = Servicer()
    async with serving(servicer) as web:
        request = GetSignUpRequest(request_id="x" * 20_000)
        with pytest.raises(ConnectError) as caught:
            await web.client(protocol).call("GetSignUp", request)
    assert told(caught.value).code == "RESOURCE_EXHAUSTED"
    assert servicer.calls == 0


async def test_a_call_that_takes_too_long_is_ended_here():
    async def never(request):
        await asyncio.Event().wait()

    async with serving(Servicer(never), limits=Limits(call_seconds=0.2)) as web:
        answer = await web.ask("GetSignUp", {})
    error = told(answer.json())
    assert (answer.status_code, error.code, error.reason) == (
        *(504, "DEADLINE_EXCEEDED"),
        "TOO_LATE",
    )


@pytest.mark.parametrize("sent", [b"", b"{"])
async def test_a_request_that_never_ends_is_not_waited_for(sent):
    servicer = Servicer()
    async with serving(servicer, limits=Limits(call_seconds=0.2)) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        head = f"POST {PATH}/GetSignUp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: 9\r\n\r\n".encode() + sent)
        said = await reader.read()  # up to the end: the connection is closed
        writer.close()
    assert said.startswith(b"HTTP/1.1 499")
    assert b"connection: close" in said.lower()
    assert servicer.calls == 0


async def test_an_unexpected_error_shows_a_code_that_the_log_knows_and_no_word_of_it():
    with capture_logs() as logs:
        async with serving(Servicer(KeyError(SECRET))) as web:
            answer = await web.ask("GetSignUp", {})
    error = told(answer.json())
    assert (answer.status_code, error.code, error.reason) == (500, "INTERNAL", "INTERNAL")
    [logged] = logs
    assert error.metadata == {"correlation_id": logged["correlation_id"]}
    assert SECRET not in f"{answer.text}{answer.headers}{logs}"


NESTED = json.dumps({"request_id": "x"})[:-1] + ', "more": ' + "[" * 8000
MALFORMED = {
    "no JSON": (JSON, SECRET.encode()),
    "another type": (JSON, json.dumps({"request_id": [SECRET]}).encode()),
    "a list": (JSON, json.dumps([SECRET]).encode()),
    "no UTF-8": (JSON, b'{"request_id": "\xff\xfe' + SECRET.encode() + b'"}'),
    "half a surrogate": (JSON, b'{"request_id": "\\ud83d ' + SECRET.encode() + b'"}'),
    "nothing": (JSON, b""),
    "very deep": (JSON, NESTED.encode()),
    "a bomb": (JSON | {"content-encoding": "gzip"}, gzip.compress(b" " * 10_000_000)),
    "no Protobuf": ({"content-type": "application/proto"}, b"\x0a\xff" + SECRET.encode()),
    "an unknown form": ({"content-type": "application/yaml"}, SECRET.encode()),
    "no form": ({}, SECRET.encode()),
    "an old protocol": (JSON | {"connect-protocol-version": "0"}, b"{}"),
    "a negative deadline": (JSON | {"connect-timeout-ms": "-1"}, b"{}"),
    "a long deadline": (JSON | {"connect-timeout-ms": "9" * 20}, b"{}"),
    "gRPC for browsers": ({"content-type": "application/grpc-web+proto"}, SECRET.encode()),
    "gRPC itself": ({"content-type": f"application/grpc+{SECRET}"}, b""),
    "a frame cut off": ({"content-type": "application/grpc-web+proto"}, b"\0\0\0\0\x09x"),
    "a frame too long": ({"content-type": "application/grpc-web+proto"}, b"\0\xff\xff\xff\xffx"),
    "two messages": ({"content-type": "application/grpc-web+proto"}, framed(b"") * 2),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_malformed_is_refused_without_a_word_of_it(case, caplog):
    headers, body = MALFORMED[case]
    servicer = Servicer()
    async with serving(servicer) as web, web.http() as http:
        answer = await http.post(f"{PATH}/GetSignUp", content=body, headers=headers)
        by_grpc = b"grpc-status" in answer.content + str(answer.headers).encode()
        assert answer.status_code in (200 if by_grpc else 400, 413, 415, 501)
        assert (await web.ask("GetSignUp", {})).status_code == 200
    assert SECRET not in f"{answer.text}{answer.headers}{caplog.text}"
    assert servicer.calls == 1


async def test_headers_that_are_not_ascii_are_nobodys():
    servicer = Servicer()
    async with serving(servicer) as web:
        answer = await web.ask("GetSignUp", {}, **{"x-name": "Ünï".encode("latin-1")})
    assert answer.status_code == 200
    [context] = servicer.contexts
    metadata = dict(context.invocation_metadata())
    assert metadata["content-type"] == "application/json"
    assert "x-name" not in metadata


async def test_a_servicer_learns_who_calls_and_how_long_there_is():
    servicer = Servicer()
    async with serving(servicer) as web:
        await web.ask("GetSignUp", {}, **{"x-forwarded-for": "192.0.2.7"})
        await web.ask("GetSignUp", {}, **{"connect-timeout-ms": "60000"})
    for_ever, for_a_minute = servicer.contexts
    assert for_ever.peer().startswith("ipv4:127.0.0.1:")
    assert for_ever.time_remaining() is None
    assert 0 < for_a_minute.time_remaining() <= 60


async def test_headers_have_a_greatest_size():
    async with serving(Servicer()) as web:
        for much in (9_000, 70_000):
            answer = await web.ask("GetSignUp", {}, **{"x-much": "x" * much})
            assert answer.status_code == 431
        assert (await web.ask("GetSignUp", {})).status_code == 200


async def test_it_counts_what_it_serves_as_grpc_does():
    labels = {
        "grpc_type": "unary",
        "grpc_service": "acme.gateway.v1.SignUpService",
        "grpc_method": "GetSignUp",
        "grpc_code": "OK",
    }
    before = REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0
    async with serving(Servicer()) as web:
        await web.ask("GetSignUp", {})
    assert REGISTRY.get_sample_value("grpc_server_handled_total", labels) == before + 1


async def test_at_the_end_calls_in_hand_are_finished_and_no_others_begun():
    finish = asyncio.Event()

    async def slowly(request):
        await finish.wait()
        return SignUpUpdate(reason="finished")

    servicer = Servicer(slowly)
    server = WebServer({SERVICE: servicer})
    assert not await server.serves()
    async with serving(servicer) as web:
        in_hand = asyncio.create_task(web.ask("GetSignUp", {}))
        await servicer.begun.wait()
        assert await web.server.serves()
        stopping = asyncio.create_task(web.server.__aexit__(None, None, None))
        await until(lambda: is_free(web.port), within=30)
        assert not stopping.done()
        finish.set()
        assert (await in_hand).json() == {"reason": "finished"}
        await stopping
        assert not await web.server.serves()


async def test_a_port_that_is_taken_is_said():
    async with serving(Servicer()) as web:
        with pytest.raises(SettingsError, match=f"cannot serve on 127.0.0.1:{web.port}"):
            await WebServer({SERVICE: Servicer()}, port=web.port).__aenter__()


def a_service(name, input_type, **options):
    """A service that no .proto of ours has, with the method GetSignUp."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test")
    file.dependency.extend(["acme/gateway/v1/sign_up.proto", "google/protobuf/any.proto"])
    method = file.service.add(name=name).method.add(name="GetSignUp")
    method.input_type = input_type
    method.output_type = ".acme.gateway.v1.SignUpUpdate"
    for option, value in options.items():
        method.options.Extensions[getattr(options_pb2, option)] = value
    pool = descriptor_pool.Default()
    return pool.AddSerializedFile(file.SerializeToString()).services_by_name[name]


async def test_a_method_that_its_proto_does_not_call_public_is_denied():
    private = a_service("PrivateOnTheWeb", ".acme.gateway.v1.GetSignUpRequest")
    servicer = Servicer()
    async with serving(servicer, service=private) as web, web.http() as http:
        answer = await http.post(f"/{private.full_name}/GetSignUp", json={})
    assert (answer.status_code, told(answer.json()).reason) == (403, "NOT_PUBLIC")
    assert servicer.calls == 0


def test_a_method_that_asks_for_any_message_is_not_served():
    assert any_pb2.DESCRIPTOR.name  # it has to be known before it is depended on
    service = a_service("AsksForAny", ".google.protobuf.Any", public=True)
    with pytest.raises(ContractError, match="Any cannot be asked for in JSON"):
        WebServer({service: Servicer()})


def test_origins_are_checked_at_the_start(monkeypatch):
    monkeypatch.setenv("SEAWAY_WEB_ORIGINS", "https://a.example,http://127.0.0.1:5173")
    settings = GatewaySettings.from_environment()
    assert settings.origins == ("https://a.example", "http://127.0.0.1:5173")
    for wrong in ("a.example", "https://a.example/", "*", "https://a.example, https://b.example"):
        monkeypatch.setenv("SEAWAY_WEB_ORIGINS", wrong)
        with pytest.raises(SettingsError, match="is no origin"):
            GatewaySettings.from_environment()


@pytest.mark.parametrize(
    "sent", ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /"]
)
async def test_who_sends_no_whole_request_takes_no_place_for_ever(sent):
    async with serving(Servicer(), limits=Limits(call_seconds=0.2)) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(sent.encode())
        said = await reader.read()  # up to the end: the connection is closed
        writer.close()
    assert (b"404" in said) == ("host" in sent)


async def test_who_does_not_read_what_he_is_told_is_cut_off():
    class Talkative(Servicer):
        open = 0

        async def SignUp(self, request, context):  # noqa: N802 - gRPC's name
            self.open += 1
            try:
                while True:
                    yield SignUpUpdate(reason="x" * 10_000)
            finally:
                self.open -= 1

    servicer = Talkative()
    async with serving(servicer, limits=Limits(call_seconds=0.2, stream_seconds=0.2)) as web:
        _, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=1)
        head = f"POST {PATH}/SignUp HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n"
        head += "content-type: application/connect+json\r\n\r\n"
        writer.write(head.encode() + framed({}))
        await until(lambda: servicer.open, within=30)
        await until(lambda: not servicer.open, within=30)
        connections = web.server._server.server_state.connections
        await until(lambda: not connections, within=30)
        writer.close()


async def test_nor_does_he_keep_his_place_when_all_is_said():
    class Long(Servicer):
        async def GetSignUp(self, request, context):  # noqa: N802 - gRPC's name
            return SignUpUpdate(reason="x" * 10_000_000)

    async with serving(Long(), limits=Limits(call_seconds=0.2, stream_seconds=0.2)) as web:
        _, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=1)
        head = f"POST {PATH}/GetSignUp HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        writer.write(f"{head}content-type: application/json\r\n\r\n{{}}".encode())
        connections = web.server._server.server_state.connections
        await until(lambda: connections, within=30)
        await until(lambda: not connections, within=30)
        writer.close()


async def test_a_stream_that_goes_on_is_not_cut_off():
    class Slow(Servicer):
        async def SignUp(self, request, context):  # noqa: N802 - gRPC's name
            for number in range(5):
                await asyncio.sleep(0.4)  # it is this that is tried: a stream with long silences
                yield SignUpUpdate(resume_token=str(number))

    async with serving(Slow(), limits=Limits(call_seconds=0.5)) as web:
        updates = web.client().call("SignUp", SignUpRequest())
        assert [int(update.resume_token) async for update in updates] == list(range(5))
