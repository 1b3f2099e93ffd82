"""A gateway on a real broker, and its client."""

from uuid import uuid4

import pytest
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
