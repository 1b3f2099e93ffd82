"""One suite, two brokers: what the platform relies on holds for both, or the fake is a lie.

`make test-containers` runs it with a third one: the image of compose.yaml, as it is set up there.
"""

import pytest
from brokers import STREAM, InMemory, Real, a_spec
from databases import IN_CONTAINERS
from seaway.topology import apply, declared

BROKERS = {"memory": InMemory, "jetstream": Real}
if IN_CONTAINERS:
    BROKERS = {"container": Real}


@pytest.fixture(params=BROKERS.values(), ids=BROKERS)
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
