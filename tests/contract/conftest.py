"""One suite, two brokers: what the platform relies on holds for both, or the fake is a lie."""

import pytest
from brokers import STREAM, InMemory, Real, a_spec
from seaway.topology import apply, declared


@pytest.fixture(params=[InMemory, Real], ids=["memory", "jetstream"])
async def place(request):
    """Where a broker with an empty stream is, and can be made to fail."""
    async with request.param() as place:
        await apply(place.broker, declared([STREAM], []))
        yield place


@pytest.fixture
def broker(place):
    return place.broker


@pytest.fixture
def durable(broker):
    """Make a durable; the answer is its name."""

    async def make(name="worker", **asked):
        spec = a_spec(name, **asked)
        await broker.put_durable("TEST", spec.config())
        return spec.name

    return make
