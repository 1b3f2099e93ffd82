"""The one request of a call by gRPC: it has to arrive, in time, and be readable.

gRPC itself waits for it as long as the connection lasts. A few connections with calls that never
get their request would then take the place of everybody.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from seaway.rpc.call import TOO_LATE, ServicerContext
from seaway.rpc.limits import Limits
from seaway.rpc.refusal import Refusal, unreadable


class Asked:
    """What the methods of a server are asked, if they are asked within the time of a call.

    If too many wait for their request at once, the one that has waited longest gives way.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[asyncio.Timeout, None] = {}

    def before[A](
        self,
        method: MethodDescriptor,
        behaviour: Callable[[Message, ServicerContext], Awaitable[A]],
    ) -> Callable[[object, ServicerContext], Awaitable[A]]:
        """Return what reads the request first; without one, nothing is done."""
        kind = message_factory.GetMessageClass(method.input_type)

        async def asked(_: object, context: ServicerContext) -> A:
            try:
                request = await self._read(kind, context)
            except Refusal as refusal:
                await context.abort_with_status(refusal.status())
                raise
            return await behaviour(request, context)

        return asked

    async def _read(self, kind: type[Message], context: ServicerContext) -> Message:
        try:
            async with self._in_time():
                data: Any = await context.read()
            if data is grpc.aio.EOF:
                raise unreadable(kind)
            return kind.FromString(data)
        except TimeoutError as error:
            raise TOO_LATE from error
        except DecodeError as error:
            raise unreadable(kind) from error

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        async with asyncio.timeout(self._limits.call_seconds) as deadline:
            self._waiting[deadline] = None
            if len(self._waiting) > self._limits.calls_without_request:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
                if not oldest.expired():
                    oldest.reschedule(0)
            try:
                yield
            finally:
                self._waiting.pop(deadline, None)
