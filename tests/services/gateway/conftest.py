"""A gateway on a real broker, and its client."""

import asyncio
import os
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from development import SEAWAY
from gateways import USERS, a_gateway
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from seaway.topology import apply, declared


@pytest.fixture
async def server():
    async with nats_server() as server:
        yield server


@pytest.fixture
async def broker(server):
    async with JetStream(server.url, "gateway") as broker:
        await broker.connected()
        await apply(broker, declared([USERS], []))
        yield broker


@pytest.fixture
async def gateway(broker):
    async with a_gateway(broker) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway):
    async with gateway.client() as client:
        yield client


@pytest.fixture
def request_id():
    return str(uuid4())


class Command:
    def __init__(self, process):
        self.process = process

    async def line(self):
        return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def end(self):
        out, complaints = await self.process.communicate()
        return self.process.returncode, out.decode().splitlines(), complaints.decode().splitlines()


@pytest.fixture
def command(tmp_path):
    @asynccontextmanager
    async def run(*words):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SEAWAY_")}
        process = await asyncio.create_subprocess_exec(
            *(SEAWAY, "sign-up", *words),
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Command(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    return run
