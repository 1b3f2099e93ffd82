"""python -m gateway."""

from dataclasses import replace

from acme.users.v1 import CreateUserRequested
from seaway import Service
from seaway.process import Process, serve
from seaway.rpc import Clients, Limits, RpcServer
from seaway.rpc.web import WebServer

from gateway.admission import Admission
from gateway.door import Door
from gateway.page import page
from gateway.rates import Rates
from gateway.service import SERVICE, SignUps, sign_up_flow
from gateway.settings import GatewaySettings
from gateway.watchers import Watchers


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(GatewaySettings)
    flow = process.during(sign_up_flow(process.broker))
    longest = settings.backlog_seconds
    admission = process.during(Admission(process.broker, CreateUserRequested, longest=longest))
    sign_ups = SignUps(flow, door(settings, admission), heartbeat=settings.heartbeat_seconds)

    async def ready() -> bool:
        return not await process.health.wrong(process.health.ready)

    limits = limits_of(settings)
    process.during(
        RpcServer(
            {SERVICE: sign_ups},
            host=settings.grpc_host,
            port=settings.grpc_port,
            limits=limits,
            ready=ready,
            shows_protos=not settings.production,
            certificates=settings.certificates,
        )
    )
    web = process.during(
        WebServer(
            {SERVICE: sign_ups},
            host=settings.web_host,
            port=settings.web_port,
            limits=limits,
            origins=settings.origins,
            site=page(),
            certificates=settings.certificates,
        )
    )
    process.ready_when("web port", web.serves)
    return Service("gateway")


def limits_of(settings: GatewaySettings) -> Limits:
    """Return what one caller may ask of us. Who watches takes no place from who signs up."""
    usual = Limits(
        stream_seconds=settings.stream_seconds,
        streams_per_connection=settings.streams_per_connection,
    )
    return replace(usual, calls=usual.calls + settings.watchers if settings.watchers else 0)


def door(settings: GatewaySettings, admission: Admission) -> Door:
    """Return who may come in."""
    return Door(
        Watchers(at_once=settings.watchers, per_client=settings.watchers_per_client),
        Rates(per_minute=settings.sign_ups_per_minute, per_hour=settings.sign_ups_per_hour),
        Clients.behind(settings.trusted_proxies),
        admission.refusal,
        anybody_may_reveal=settings.reveal_taken == "anybody",
    )


if __name__ == "__main__":
    serve("gateway", build)
