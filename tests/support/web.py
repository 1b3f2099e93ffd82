"""Gateways as browsers reach them, and what one of them says."""

import base64
import json
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from gateway.service import SERVICE, SignUps, sign_up_flow
from gateways import open_door
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from refused import Refused
from seaway.flow import Flow
from seaway.rpc import Limits
from seaway.rpc.web import NOWHERE, WebServer

PATH = "/acme.gateway.v1.SignUpService"
JSON = {"content-type": "application/json"}
PROTOCOLS = {
    "connect, binary": (ProtocolType.CONNECT, google_protobuf_binary_codec),
    "connect, JSON": (ProtocolType.CONNECT, google_protobuf_json_codec),
    "gRPC-Web": (ProtocolType.GRPC_WEB, google_protobuf_binary_codec),
}


@dataclass
class Web:
    server: WebServer
    flow: Flow | None = None

    @property
    def port(self):
        return self.server.port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def http(self):
        """A client of HTTP, with connections of its own."""
        return httpx.AsyncClient(base_url=self.url, timeout=60)

    async def ask(self, method, request, **headers):
        """Call a method as curl would."""
        async with self.http() as http:
            return await http.post(f"{PATH}/{method}", json=request, headers=headers)

    def client(self, protocol="connect, binary"):
        """Whoever generates a client from the protos has one like this."""
        return Client.at(self.url, protocol)


class Client:
    def __init__(self, connect):
        self.connect = connect

    @classmethod
    def at(cls, url, protocol="connect, binary"):
        kind, codec = PROTOCOLS[protocol]
        return cls(ConnectClient(url, protocol=kind, codec=codec(), send_compression=None))

    def call(self, name, request, timeout=None):
        """Make a call: an awaitable answer, or an iterator of updates."""
        method = SERVICE.methods_by_name[name]
        streams = method.server_streaming
        info = MethodInfo(
            name=name,
            service_name=SERVICE.full_name,
            input=GetMessageClass(method.input_type),
            output=GetMessageClass(method.output_type),
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.SERVER_STREAM if streams else StreamType.UNARY,
        )
        execute = self.connect.execute_server_stream if streams else self.connect.execute_unary
        return execute(request=request, method=info, timeout_ms=timeout and int(timeout * 1000))


@asynccontextmanager
async def a_web_gateway(broker, door=None, heartbeat=15.0, origins=(), site=NOWHERE, **limits):
    """A gateway that has only a web port, in the event loop of a test."""
    settings = {"origins": origins, "site": site, "limits": Limits(**limits)}
    async with sign_up_flow(broker) as flow:
        sign_ups = SignUps(flow, door or open_door(), heartbeat=heartbeat)
        async with serving(sign_ups, **settings) as web:
            yield Web(web.server, flow)


@asynccontextmanager
async def serving(servicer, service=SERVICE, **settings):
    """Serve a servicer to browsers."""
    async with WebServer({service: servicer}, **settings) as server:
        yield Web(server)


def told(error):
    """What an error says (Connect's JSON, or ConnectError), in the words of `refused`."""
    if isinstance(error, dict):
        code, said = error["code"], error.get("message", "")
        packed = [(d["type"], d["value"]) for d in error.get("details", [])]
        details = [(name, base64.b64decode(value + "==")) for name, value in packed]
    else:
        code, said = error.code.value, error.message
        details = [(d.type_name, d.message_bytes) for d in error.details]
    answer = Refused(code.upper(), said)
    for name, value in details:
        detail = getattr(error_details_pb2, name.rpartition(".")[2]).FromString(value)
        match detail:
            case error_details_pb2.ErrorInfo():
                assert not answer.reason, "more than one ErrorInfo"
                answer.reason, answer.domain = detail.reason, detail.domain
                answer.metadata = dict(detail.metadata)
            case error_details_pb2.BadRequest():
                answer.fields = tuple(v.field for v in detail.field_violations)
            case error_details_pb2.RetryInfo():
                answer.retry_after = detail.retry_delay.ToTimedelta().total_seconds()
    return answer


def framed(message):
    """One message of a stream, as the wire has it."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">BI", 0, len(body)) + body
