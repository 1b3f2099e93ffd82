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
from load import AGAIN, cpu, quantiles, request_id_of
from waiting import until

PER_CONNECTION = 100
OPEN_WITHIN = 300.0
A_SECOND = 200
"""So many are opened: of a thousand of which nothing was read yet a gateway ends some, as in an
attack."""


async def watch(stub, request_id, opened, delays):
    """Watch one to the end; the first update that it gets is that nothing is known."""
    heard = set()
    while True:
        try:
            async for update in stub.WatchSignUp(api.WatchSignUpRequest(request_id=request_id)):
                if update.state == api.STATE_PENDING:
                    opened.add(request_id)
                elif update.state not in heard:
                    heard.add(update.state)
                    delays.append(time.time() - update.at.ToNanoseconds() / 1e9)
        except grpc.aio.AioRpcError as error:
            if error.code() not in AGAIN:
                raise
        else:
            return


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
            if number % A_SECOND == 0:
                await asyncio.sleep(1)
        await until(lambda: len(opened) == count, OPEN_WITHIN, every=0.05)
        print("open", flush=True)
    for channel in channels:
        await channel.close()
    share = (cpu() - used) / (time.perf_counter() - begun)
    return {"heard": len(delays), "delays": quantiles(delays), "cpu": share}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
