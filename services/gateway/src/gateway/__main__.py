"""python -m gateway."""

from acme.users.v1 import CreateUserRequested
from seaway import Service, address_of
from seaway.process import Process, serve
from seaway.rpc import Limits, RpcServer
from seaway.rpc.web import WebServer

from gateway.page import page
from gateway.room import Room
from gateway.service import SERVICE, SignUps, sign_up_flow
from gateway.settings import GatewaySettings
from gateway.watchers import Watchers


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(GatewaySettings)
    flow = process.during(sign_up_flow(process.broker))
    room = process.during(Room(process.broker, address_of(CreateUserRequested).stream))
    watchers = Watchers(at_once=settings.watchers, per_client=settings.watchers_per_client)
    sign_ups = SignUps(flow, watchers, heartbeat=settings.heartbeat_seconds, is_full=room.is_full)

    async def ready() -> bool:
        return not await process.health.wrong(process.health.ready)

    limits = Limits(
        stream_seconds=settings.stream_seconds,
        streams_per_connection=settings.streams_per_connection,
    )
    host, port = settings.grpc_host, settings.grpc_port
    process.during(
        RpcServer({SERVICE: sign_ups}, host=host, port=port, limits=limits, ready=ready)
    )
    web = process.during(
        WebServer(
            {SERVICE: sign_ups},
            host=settings.web_host,
            port=settings.web_port,
            limits=limits,
            origins=settings.origins,
            site=page(),
        )
    )
    process.ready_when("web port", web.serves)
    return Service("gateway")


if __name__ == "__main__":
    serve("gateway", build)
