"""grpc.health.v1: whether we answer, and whether we can do our work now."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2

from seaway.rpc.call import ServicerContext
from seaway.rpc.refusal import Refusal, exhausted

SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]

type Ready = Callable[[], Awaitable[bool]]


async def always() -> bool:
    """Ready, whatever happens."""
    return True


class Health:
    """grpc.health.v1: "liveness" is that we answer; all else is that we can do our work now."""

    def __init__(self, ready: Ready, names: set[str], most: int) -> None:
        self.stopping = False
        self._most = most
        self._watching = 0
        self._ready = ready
        self._names = names | {"", "liveness", "readiness"}

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Answer once. Refuses a service that is not served here."""
        status = await self._status(request.service)
        if status == UNKNOWN:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE", "not served here")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthListRequest, context: ServicerContext
    ) -> health_pb2.HealthListResponse:
        """Answer for everything at once."""
        statuses = {
            name: health_pb2.HealthCheckResponse(status=await self._status(name))
            for name in self._names
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer, and again whenever it changes. Raises Refusal if enough watch already."""
        if self._watching >= self._most:
            raise exhausted("TOO_MANY_WATCHERS", "as many watch our health as may")
        self._watching += 1
        told = None
        try:
            while True:
                status = await self._status(request.service)
                if status != told:
                    yield health_pb2.HealthCheckResponse(status=status)
                told = status
                await asyncio.sleep(1)
        finally:
            self._watching -= 1

    async def _status(self, name: str) -> int:
        if name not in self._names:
            return UNKNOWN
        if name == "liveness":
            return SERVING
        return SERVING if not self.stopping and await self._ready() else NOT_SERVING
