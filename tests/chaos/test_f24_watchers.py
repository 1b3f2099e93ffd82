"""F24: a gateway dies while hundreds watch, and they resume where they can."""

import asyncio
import time

import grpc
import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from runner import Run
from sign_ups import AGAIN, SignUp, a_request, clients
from waiting import until

TARGET = 5.0
WATCHERS = 500


async def accepted(stub, one):
    """Sign up, and go away as soon as it is accepted."""
    call = stub.SignUp(one.request, timeout=20)
    one.hear(await call.read())
    call.cancel()


async def watch(stub, one):
    """Watch until there is a definite answer, from the beginning after each loss."""
    while not one.ended:
        request = api.WatchSignUpRequest(request_id=one.request_id)
        try:
            async for update in stub.WatchSignUp(request, timeout=60):
                one.hear(update)
        except grpc.aio.AioRpcError as error:
            one.errors.append(error.code())
            if error.code() not in AGAIN:
                raise
            await asyncio.sleep(0.05)  # as a client backs off


async def die_while_they_watch(run, stubs, some):
    """Kill the gateway under its watchers; return how long after its return the last one waits."""
    [gateway], [worker] = run.system.gateways, run.system.workers
    await worker.stop()
    await asyncio.gather(*(accepted(stubs[n % 10], one) for n, one in enumerate(some)))
    async with asyncio.TaskGroup() as tasks:
        for number, one in enumerate(some):
            tasks.create_task(watch(stubs[number % 10], one))
        await until(lambda: all(len(one.told) > 1 for one in some), within=120)
        run.fault("gateway killed")
        await gateway.kill()
        await worker.start()
        await worker.ready()
        await gateway.start()
        await gateway.ready()
        since = time.monotonic()
    return max(one.ended_at for one in some) - since


@pytest.mark.store("sqlite")
async def test_all_watchers_of_a_dead_gateway_get_a_definite_answer_when_it_is_back(
    tmp_path, store, goal, size, capsys
):
    deaths, slowest = size(smoke=1, full=10), []
    async with Run(tmp_path, store) as run:
        async with clients(run.system.grpc_ports, 10) as stubs:
            for _ in range(deaths):
                # WatchSignUp tells no reason, so a taken address would look confirmed.
                some = [SignUp(a_request(reveal_taken=False)) for _ in range(WATCHERS)]
                run.history += some
                slowest.append(await die_while_they_watch(run, stubs, some))
        await run.check()
    hits = sum(bool(one.errors) for one in run.history)
    with capsys.disabled():
        print(f"\n  {run.summary()}, last answer {[round(s, 2) for s in slowest]} s after restart")
    assert all(one.ended for one in run.history)
    target = f"< {TARGET:g} s, all"
    met, least = max(slowest) < TARGET, WATCHERS * deaths
    goal("R12 last definite answer", max(slowest), target, hits=hits, least=least, met=met)
