"""Those who watch, in a process of their own: it says when all are open, and what they heard when.

python watching.py '{"target": "127.0.0.1:50051", "count": 5000, "seed": "…"}'
"""

import asyncio
import json
import sys
import time
from itertools import cycle

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from load import cpu, quantiles, request_id_of

PER_CONNECTION = 100


async def watch(stub, request_id, opened, delays):
    """Watch one to the end; the first update that it gets is that nothing is known."""
    async for update in stub.WatchSignUp(api.WatchSignUpRequest(request_id=request_id)):
        if update.state == api.STATE_PENDING:
            opened.add(request_id)
        else:
            delays.append(time.time() - update.at.ToNanoseconds() / 1e9)


async def run(target, count, seed):
    """Open all, tell so, wait for the end of all; return what they heard."""
    local = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.insecure_channel(target, local) for _ in range(max(1, count // PER_CONNECTION))
    ]
    stubs, opened, delays = cycle([SignUpServiceStub(c) for c in channels]), set(), []
    begun, used = time.perf_counter(), cpu()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(watch(next(stubs), request_id_of(seed, number), opened, delays))
        while len(opened) < count:  # noqa: ASYNC110 - there is nobody who could set an event
            await asyncio.sleep(0.05)
        print("open", flush=True)
    for channel in channels:
        await channel.close()
    share = (cpu() - used) / (time.perf_counter() - begun)
    return {"heard": len(delays), "delays": quantiles(delays), "cpu": share}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
