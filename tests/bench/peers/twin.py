"""The request-driven twin: a gRPC server that inserts and commits, and answers what became of it.

The same API as the gateway's, with the same two updates on a stream, the same checks of a request,
the same table; and, as `bench.SignUps/SignUp`, the same as one answer to one call. No broker:
nobody else hears of a new user, and nobody can ask for an answer that was lost.
"""

import asyncio
import os
import signal

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import (
    SignUpServiceServicer,
    add_SignUpServiceServicer_to_server,
)
from gateway.service import check
from seaway.rpc import Refusal
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlmodel import select
from users_table import User, create_table, engine_for, fields


class Twin(SignUpServiceServicer):
    def __init__(self, engine):
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def SignUp(self, request, context):  # noqa: N802 - gRPC's name
        outcome = await self.outcome(request, context)
        yield update(request, api.STATE_ACCEPTED)
        yield outcome

    async def outcome(self, request, context):
        """Create the user, or say that the address is taken. A request that is repeated is one."""
        try:
            check(request)
        except Refusal as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        async with self._sessions() as session:
            session.add(User(**fields(request)))
            try:
                await session.commit()
            except IntegrityError:
                await session.rollback()
                chosen = select(User).where(User.request_id == request.request_id)
                if (await session.execute(chosen)).scalar_one_or_none() is None:
                    state = api.STATE_REJECTED if request.reveal_taken else api.STATE_CONFIRMED
                    return update(request, state)
        return update(request, api.STATE_CONFIRMED)


def update(request, state):
    said = api.SignUpUpdate(request_id=request.request_id, state=state)
    said.at.GetCurrentTime()
    return said


def unary(twin):
    method = grpc.unary_unary_rpc_method_handler(
        twin.outcome,
        request_deserializer=api.SignUpRequest.FromString,
        response_serializer=api.SignUpUpdate.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("bench.SignUps", {"SignUp": method})


async def main():
    engine = engine_for(os.environ["BENCH_DATABASE"])
    await create_table(engine)
    server = grpc.aio.server()
    twin = Twin(engine)
    add_SignUpServiceServicer_to_server(twin, server)
    server.add_generic_rpc_handlers((unary(twin),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_PORT']}")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(1.0)
    await engine.dispose()


asyncio.run(main())
