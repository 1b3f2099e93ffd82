"""F1: each service dies at each of its points, on the first delivery, and on the second as well.

Real gateway, real user-creation, real broker, both databases. The invariants are those of every
fault; and each death is looked at, to see that the point is where its name says.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from acme.users.v1 import CreateUserRequested
from invariants import CONFIRMED, REJECTED, REQUESTED, check, state_of
from processes import UNLIMITED, free_ports
from seaway.contract import address_of
from seaway.jetstream import JetStream
from seaway.testing import ServiceProcess, crash_points, nats_server
from seaway.testing.crashing import deaths, in_hand, quiet
from sign_ups import SignUp, a_request, clients, sign_up
from waiting import until

pytestmark = pytest.mark.timeout(300)

PASSED = {
    # rows of theirs, outcomes of theirs, deliveries not settled
    "U1": (0, 0, 3),
    "U2": (0, 0, 3),
    "U3": (2, 0, 3),
    "U4": (2, 3, 3),
    "U5": (2, 3, 0),
}
"""What is so after the first death over three people, two of whom want one address."""
STORED = {"G1": 0, "G2": 1, "G3": 1, "G4": 1}
"""How many requests are stored when a gateway dies there."""


@dataclass
class Lane:
    """A system of its own, in which one point after the other is tried."""

    url: str
    broker: JetStream
    database_url: str
    ports: list[int]
    stubs: list
    gateways: list[ServiceProcess]
    worker: ServiceProcess

    async def seen(self, people):
        """How many of these have a row, an outcome, and how many deliveries are not settled."""
        ids = {one.request_id for one in people}
        state = await state_of(self.broker, self.database_url)
        outcomes = [*state.keys(CONFIRMED), *state.keys(REJECTED)]
        rows = [request_id for request_id, _ in state.users]
        return (
            sum(i in ids for i in rows),
            sum(i in ids for i in outcomes),
            await in_hand(self.broker),
        )

    async def stored(self, one):
        """How many requests of this person are stored."""
        state = await state_of(self.broker, self.database_url)
        return state.keys(REQUESTED).count(one.request_id)

    async def place(self, one):
        """Where in the stream the request of this person is."""
        subject = address_of(CreateUserRequested).subject_for(one.request_id)
        return (await self.broker.read("USERS", subject)).sequence

    async def wrong(self, history):
        """A sentence for each invariant that does not hold."""
        return await check(history, url=self.url, database_url=self.database_url, ports=self.ports)


@asynccontextmanager
async def a_lane(folder, database_url, ports):
    folder.mkdir()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(nats_server())
        told = {"SEAWAY_NATS_URL": server.url, "SEAWAY_DATABASE_URL": database_url}
        told |= {**UNLIMITED, "SEAWAY_WEB_PORT": "0"}
        worker = ServiceProcess(["python", "-m", "user_creation"], told, folder)
        gateways = [
            ServiceProcess(
                ["python", "-m", "gateway"], told | {"SEAWAY_GRPC_PORT": str(p)}, folder
            )
            for p in ports
        ]
        for process in (worker, *gateways):
            stack.push_async_callback(process.stop)
        await worker.call("prepare")
        broker = await stack.enter_async_context(JetStream(server.url, "test"))
        await broker.connected()
        stubs = await stack.enter_async_context(clients(ports, len(ports)))
        yield Lane(server.url, broker, database_url, ports, stubs, gateways, worker)


async def dies_over_three(lane, crash):
    """Have user-creation die while three people wait; return them and the number of deaths."""
    taken = f"{crash.point}@example.org".lower()
    people = [SignUp(a_request(email)) for email in (taken, taken.upper(), None)]
    count = 0
    async with asyncio.TaskGroup() as tasks:
        for one in people:
            tasks.create_task(sign_up(lane.stubs, one))
        await until(lambda: all(one.accepted for one in people), within=120)
        first = min([await lane.place(one) for one in people])
        async for count in deaths(lane.worker, lane.broker, crash, first):
            if count == 1:
                assert await lane.seen(people) == PASSED[crash.point], crash
    await quiet(lane.broker, lane.worker)
    await lane.worker.stop()
    return people, count


async def try_all(lane, crashes, dies):
    """Try one point after the other; return what is wrong, and how many deaths there were."""
    history, died = [], 0
    for crash in crashes:
        people, count = await dies(lane, crash)
        assert count == crash.deliveries, crash
        history += people
        died += count
    return await lane.wrong(history), died


def a_database(request, folder, kind, number):
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{folder}/{number}.db"
    return request.getfixturevalue("postgresql").new_database()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_user_creation_may_die_anywhere(kind, tmp_path, goal, request):
    ports = free_ports(2)

    async def once(deliveries, port, url):
        async with a_lane(tmp_path / str(deliveries), url, [port]) as lane:
            await lane.gateways[0].start()
            return await try_all(lane, crash_points(deliveries=[deliveries]), dies_over_three)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(once(1, ports[0], a_database(request, tmp_path, kind, 1)))
        second = tasks.create_task(once(2, ports[1], a_database(request, tmp_path, kind, 2)))
    wrong = [*first.result()[0], *second.result()[0]]
    died = first.result()[1] + second.result()[1]
    goal("R4", len(wrong), "0 (U1-U5, twice)", hits=died, least=15)
    assert wrong == []


async def dies_in_a_call(lane, crash):
    """Have a gateway die while somebody asks it, as often as it is asked; return who asked."""
    gateway, one = lane.gateways[0], SignUp(a_request())
    await gateway.stop()
    if crash.point == "G4":  # nobody waits for what is known already
        await lane.worker.stop()
    async with asyncio.TaskGroup() as tasks:
        for delivery in range(1, crash.deliveries + 1):
            await gateway.start(crash_at=crash.point)
            if delivery == 1:
                tasks.create_task(sign_up(lane.stubs[:1], one))
            await gateway.crashed(crash.point)
            assert await lane.stored(one) == STORED[crash.point], crash
            assert crash.point == "G4" or not one.accepted, crash
        await gateway.start()
        if crash.point == "G4":
            await lane.worker.start()
    assert len(one.errors) >= crash.deliveries
    return [one], crash.deliveries


async def test_a_gateway_may_die_anywhere(tmp_path, goal):
    ports = free_ports(4)

    async def once(deliveries, ports):
        crashes = crash_points("G1", "G2", "G3", "G4", deliveries=[deliveries])
        folder = tmp_path / str(deliveries)
        async with a_lane(folder, f"sqlite+aiosqlite:///{folder}/test.db", ports) as lane:
            await lane.worker.start()
            await lane.gateways[1].start()
            return await try_all(lane, crashes, dies_in_a_call)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(once(1, ports[:2]))
        second = tasks.create_task(once(2, ports[2:]))
    wrong = [*first.result()[0], *second.result()[0]]
    died = first.result()[1] + second.result()[1]
    goal("R4", len(wrong), "0 (G1-G4, twice)", hits=died, least=12)
    assert wrong == []
