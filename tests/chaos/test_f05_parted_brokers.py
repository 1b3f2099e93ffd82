"""F5: of three brokers one hears nothing of the others, and they nothing of it.

Alone it can store nothing, whatever it led before. Whoever is connected to it finds another one.
"""

import asyncio

import psutil
import pytest
from backlogs import put
from cluster import nats_cluster
from runner import Run
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from sign_ups import SignUp, a_request, clients, sign_up

PATIENT = 120.0
ELSEWHERE = 35
"""Seconds: a broker that led resigns within 20; then those at it leave one that is 10 silent."""
REFUSALS = 3


async def leader_with_clients(cluster, run):
    """Return who leads the stream, after somebody leads it to whom a gateway is connected.

    A worker may be healed before it despairs: it is told "nothing waits" until the leader resigns.
    """
    while not connected_to(cluster.servers[leader := await cluster.leader("USERS")], run):
        await cluster.lead_from_elsewhere("USERS")
    return leader


def connected_to(server, run):
    running = [psutil.Process(program.process.pid) for program in run.system.gateways]
    remote = [c.raddr for one in running for c in one.net_connections("tcp") if c.raddr]
    return sum(address.port == server.port for address in remote)


async def refuses(server):
    """Ask a broker that is alone to store requests; fail if it says that it has."""
    async with JetStream(server.url, "test") as broker:
        await broker.connected()
        for _ in range(REFUSALS):
            with pytest.raises(BrokerUnavailable):
                await put(broker, [a_request()])
    return REFUSALS


async def served_by_each(run):
    """Sign up at each gateway, and at no other: wherever it was connected, it has moved on."""
    async with clients(run.system.grpc_ports, len(run.system.grpc_ports)) as stubs:
        some = [SignUp(a_request()) for _ in stubs]
        run.history += some
        tries = [sign_up([stub], one, PATIENT) for stub, one in zip(stubs, some, strict=True)]
        await asyncio.gather(*tries)


async def test_a_broker_without_the_others_stores_nothing_and_its_clients_move_on(
    tmp_path, store, goal, size, capsys
):
    partings, gaps, healed, refused = size(smoke=1, full=4), [], [], 0
    async with (
        nats_cluster() as cluster,
        Run(tmp_path, store, server=cluster, gateways=3, workers=2, SEAWAY_REPLICAS="3") as run,
    ):
        async with run.load(per_second=15) as load:
            for number in range(partings):
                alone = await leader_with_clients(cluster, run)
                await load.caught()
                at = run.fault(f"{alone} cut off from the others")
                cluster.part(alone, at_once=number % 2 == 1)
                refused += await refuses(cluster.servers[alone])
                gaps.append(await load.gap(at, PATIENT))
                await served_by_each(run)
                cluster.heal()
                healed.append(await load.gap(run.fault("healed"), PATIENT))
                for stream in ("USERS", "DEAD"):  # of two that failed at once nothing is claimed
                    await cluster.caught_up(stream)
                run.hits += 1
        accepted = await run.check()
        said = [program.text() for program in run.system.programs]
        moved = sum(text.count("this broker answers nothing") for text in said)
    with capsys.disabled():
        print(f"\n  {run.summary()}, {moved} moved on, {cluster.trouble} segments kept back")
        print(f"  newcomers served after {gaps} s, after it healed {healed} s")
    assert accepted == len(run.history)
    assert moved >= partings, "a gateway stayed at a broker that was cut off"
    goal("F5 stored by a broker without the others", 0, "0", hits=refused, least=3 * partings)
    slowest = (("while a broker is cut off", max(gaps), ELSEWHERE), ("after", max(healed), 5))
    for what, gap, target in slowest:
        goal(f"F5 gap {what}", gap, f"< {target} s", hits=moved, least=partings, met=gap < target)
