"""`seaway audit` for tests: the very code that operators run."""

from functools import partial

from seaway.audit import ask_services, audited, settled
from seaway.jetstream import JetStream
from seaway.jetstream.starting import answered


def endpoints(system):
    """Where the services of a `Processes` can be asked; replicas share a database."""
    found = {}
    for program in (*system.gateways, *system.workers):
        url = f"http://127.0.0.1:{program.metrics_port}"
        found.setdefault(program.module.replace("_", "-"), []).append(url)
    return found


async def audit(system, *, within=60.0, since=None):
    """Wait until everything is settled, and return the report of an audit.

    Fails if it is not settled in time. `report.differences` is empty when all adds up. Brokers
    that have just come back to the others may not know yet who leads: then they are asked again.
    """
    ask = partial(ask_services, endpoints(system))
    async with JetStream(system.server.url, "audit") as broker:
        await broker.connected()
        assert await settled(broker, within), f"not settled within {within} s"
        return await answered(broker, lambda: audited(broker, ask, since), print)
