"""F27: services start before the broker, before its streams, and beside streams that drifted."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from cluster import brokers
from development import environment
from processes import Program, free_ports, supervised
from seaway.jetstream import JetStream
from seaway.testing.nats_server import NatsServer
from waiting import until

TARGET = 10.0
ROOT = Path(__file__).parents[2]


def programs_for(folder, store, ports):
    nats_port, grpc, *metrics = ports
    common = {"SEAWAY_NATS_URL": f"nats://127.0.0.1:{nats_port}", "SEAWAY_GRPC_PORT": str(grpc)}
    worker = common | {"SEAWAY_DATABASE_URL": store}
    return [
        Program("user_creation", worker, folder, metrics[0]),
        Program("gateway", common, folder, metrics[1]),
    ]


async def says(program, words, within=120.0):
    """Wait until its readiness says so."""
    await until(lambda: asyncio.to_thread(lambda: words in program.asked("/readyz")[1]), within)


@pytest.mark.timed_start
async def test_services_wait_for_broker_and_streams_and_refuse_streams_that_drifted(
    tmp_path, store, goal, capsys
):
    ports = free_ports(4)
    programs = programs_for(tmp_path, store, ports)
    server = NatsServer(Path(tmp_path))
    server.port = ports[0]
    try:
        async with supervised(programs):
            for program in programs:
                await program.start()
                await says(program, '"broker": "away"')
                assert program.asked("/livez")[0] == 200
            await server.start()
            for program in programs:
                await says(program, "stream USERS does not exist")
            since = time.monotonic()
            for program in programs:
                await program.call("prepare")
            for program in programs:
                await program.ready()
            took = time.monotonic() - since
            hits = await drifted(server, programs)
    finally:
        for program in programs:
            await program.kill()
        await server.kill()
    with capsys.disabled():
        print(f"\n  ready {took:.1f} s after the broker was there and prepared")
    assert all(p.exits[-1:] == [-9] and len(p.exits) == 2 for p in programs), "a crash loop"
    target = f"<= {TARGET:g} s"
    goal("F27 ready after start", took, target, hits=hits, least=2, met=took <= TARGET)


async def drifted(server, programs):
    """Take a guard off the stream: nobody who starts then is ready, and each says why."""
    async with JetStream(server.url, "somebody") as broker:
        await broker.connected()
        config = dict((await broker.streams())["USERS"].config)
        await broker.put_stream({**config, "discard_new_per_subject": False})
        for program in programs:
            await program.kill()
            await program.start()
        for program in programs:
            await says(program, "discard_new_per_subject")
        hits = sum(program.asked("/readyz")[0] == 503 for program in programs)
        await broker.put_stream(config)
    for program in programs:
        await program.ready()
    return hits


SEAWAY = str(Path(sys.executable).with_name("seaway"))
PREPARE = [sys.executable, "-m", "user_creation", "prepare"]


async def waits(process):
    """Wait until a program says that it waits for the broker."""
    said = b""
    while b"waiting for the broker" not in said:
        line = await process.stderr.readline()
        assert line, f"it ended without waiting: {said.decode()}"
        said += line


@pytest.mark.parametrize(
    "command", [PREPARE, [SEAWAY, "topology", "apply"]], ids=["prepare", "topology apply"]
)
async def test_who_needs_streams_waits_for_a_cluster_that_is_only_just_being_started(
    tmp_path, command, goal
):
    """One broker of three is there, takes connections, and cannot answer without another one."""
    async with brokers() as cluster:
        first, *others = cluster.servers.values()
        await first.start()
        told = {"SEAWAY_NATS_URL": first.url, "SEAWAY_REPLICAS": "3"}
        told |= {"SEAWAY_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/store.db"}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**environment(), **told},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        await waits(process)
        for server in others:
            await server.start()
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        async with JetStream(first.url, "test") as broker:
            await broker.connected()
            replicas = (await broker.streams())["USERS"].config["num_replicas"]
    goal("F27 streams made once a cluster had formed", replicas, "3 replicas", hits=1, least=1)
    assert replicas == 3
