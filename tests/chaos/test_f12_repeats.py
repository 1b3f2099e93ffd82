"""F12, F13: the same request many times at once, and many requests for the same address."""

import asyncio
from unicodedata import normalize

import grpc
import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from runner import Run
from sign_ups import SignUp, a_request, attempt, clients, sign_up

AT_ONCE = 100


def answers(one):
    """What a client was told, but for how often: a repeat of the last state says nothing new."""
    return {(update.state, update.resume_token) for update in one.told}


@pytest.mark.store("sqlite")
async def test_a_request_repeated_ten_times_at_once_has_one_outcome_and_ten_equal_answers(
    tmp_path, store, goal, size
):
    requests = [a_request() for _ in range(size(smoke=25, full=1000))]
    unequal = refused = 0
    async with Run(tmp_path, store, gateways=2, workers=2) as run:
        async with clients(run.system.grpc_ports, 10) as stubs:
            for request in requests:
                ten = [SignUp(request) for _ in stubs]
                tries = [sign_up([stub], o) for stub, o in zip(stubs, ten, strict=True)]
                await asyncio.gather(*tries)
                unequal += any(answers(one) != answers(ten[0]) for one in ten)
                run.hits += sum(one.ended for one in ten)
                run.history.append(ten[0])
                other = api.SignUpRequest()
                other.CopyFrom(request)
                other.display_name = "Somebody else"
                with pytest.raises(grpc.aio.AioRpcError) as refusal:
                    await attempt(stubs[refused % 10], SignUp(other))
                refused += refusal.value.code() == grpc.StatusCode.ABORTED
        await run.check()
    assert unequal == 0
    assert refused == len(requests)
    goal("F12 unequal answers to a repeat", unequal, "0", hits=run.hits, least=10 * len(requests))


def spellings(number):
    """One address in the ways in which people type it; DNS and Unicode say they are one."""
    local, domain = f"renée.{number}", "bücher.example"
    composed = f"{local}@{domain}"
    return [
        composed,
        composed.upper(),
        f"{normalize('NFD', local)}@{domain}",
        f"{local.title()}@xn--bcher-kva.example",
        f"{local}@BÜCHER.Example",
    ]


async def test_of_a_hundred_who_want_the_same_address_at_once_one_gets_it(
    tmp_path, store, goal, size, capsys
):
    races, winners = size(smoke=4, full=1000), []
    async with Run(tmp_path, store, gateways=2, workers=2) as run:
        async with clients(run.system.grpc_ports, 10) as stubs:
            for race in range(races):
                ways = spellings(race)
                racers = [SignUp(a_request(ways[n % len(ways)])) for n in range(AT_ONCE)]
                run.history += racers
                barrier = asyncio.Barrier(AT_ONCE)

                async def run_for_it(number, one, barrier=barrier):
                    await barrier.wait()
                    await sign_up([*stubs[number % 10 :], *stubs], one)

                await asyncio.gather(*(run_for_it(n, one) for n, one in enumerate(racers)))
                states = [update.state for one in racers for update in one.told[-1:]]
                winners.append(states.count(api.STATE_CONFIRMED))
                run.hits += states.count(api.STATE_REJECTED)
        await run.check()
    assert winners == [1] * races
    goal(
        "R13 races with one winner", winners.count(1), f"{races}", hits=run.hits, least=99 * races
    )
