"""What is around every call, whichever way it comes: who may, for how long, and the end of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from seaway.errors import ContractError
from seaway.messaging.v1 import options_pb2
from seaway.rpc.call import Call, ServicerContext, introduce
from seaway.rpc.health import HEALTH
from seaway.rpc.limits import Limits
from seaway.rpc.refusal import Refusal

type Answer = Callable[[Message, ServicerContext], Awaitable[Message]]
type Stream = Callable[[Message, ServicerContext], Awaitable[None]]


class Calls:
    """The calls of one server. Only methods that their .proto calls public do anything."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._streams: set[asyncio.Timeout] = set()
        self._stopping = False

    def stop(self) -> None:
        """End all streams, and those that still begin, so that their clients resume elsewhere."""
        self._stopping = True
        for deadline in self._streams:
            if not deadline.expired():
                deadline.reschedule(0)

    def answer(self, method: MethodDescriptor, servicer: object) -> Answer:
        """Return what answers a unary method. Raises ContractError if its client streams."""
        behaviour = _behaviour(method, servicer)
        introduce(method)

        async def answer(request: Message, context: ServicerContext) -> Message:
            deadline = asyncio.timeout(self._limits.call_seconds)
            async with Call(method, request, context, deadline), deadline:
                answered: Message = await behaviour(request, context)
            return answered

        return answer

    def stream(self, method: MethodDescriptor, servicer: object) -> Stream:
        """Return what writes a stream's updates to its context. Raises as `answer` does."""
        behaviour = _behaviour(method, servicer)
        introduce(method)
        # A health stream tells its client where not to go, so it lasts until we stop.
        longest = None if method.containing_service is HEALTH else self._limits.stream_seconds

        async def stream(request: Message, context: ServicerContext) -> None:
            deadline = asyncio.timeout(longest)
            async with Call(method, request, context, deadline), deadline:
                self._streams.add(deadline)
                if self._stopping:
                    # It came between the end of the others and the last word to the client.
                    deadline.reschedule(0)
                try:
                    # Closed here and now, so that a client that left holds nothing.
                    async with aclosing(behaviour(request, context)) as updates:
                        async for update in updates:
                            await context.write(update)
                finally:
                    self._streams.discard(deadline)

        return stream


def _behaviour(method: MethodDescriptor, servicer: object) -> Any:
    if method.client_streaming:
        raise ContractError(f"{method.full_name}: client streaming is not served")
    if _is_public(method):
        return getattr(servicer, method.name)
    return _denied_stream if method.server_streaming else _denied


def _is_public(method: MethodDescriptor) -> bool:
    return method.containing_service is HEALTH or bool(
        method.GetOptions().Extensions[options_pb2.public]
    )


async def _denied(request: Message, context: ServicerContext) -> Message:
    raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_PUBLIC", "nobody may call this yet")


async def _denied_stream(request: Message, context: ServicerContext) -> Any:
    yield await _denied(request, context)
