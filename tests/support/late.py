"""A call that reaches its server in time, and that the server can only look at too late.

That it is not begun then is gRPC's doing, and we rely on it.
"""

import asyncio
import threading
import time

import grpc
from acme.gateway.v1 import GetSignUpRequest
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub


async def call_too_late(port, begin):
    """Make a call, `begin(stub, seconds)`, to a server in our event loop; return its code."""
    connected, busy = threading.Event(), threading.Event()

    def ask():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = SignUpServiceStub(channel)
            stub.GetSignUp(GetSignUpRequest(request_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12))
            connected.set()
            busy.wait()
            return begin(stub, 0.1).code()

    asking = asyncio.create_task(asyncio.to_thread(ask))
    await asyncio.to_thread(connected.wait)
    busy.set()
    time.sleep(0.3)  # noqa: ASYNC251 - the event loop is busy until it is too late
    return await asking
