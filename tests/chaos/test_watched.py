"""Dashboards show a system that runs, and alerts tell what was taken away from it, and no more.

A real Prometheus asks a real `seaway dev`, by a clock on which an hour is two minutes: the rules
are the committed ones, with every duration a thirtieth of what it is.
"""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import grpc
import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from development import Development
from durations import Clock
from goals import SIZE
from object_store import object_store
from poison import publish, undecodable
from postgresql import PostgreSQL
from prometheus import Prometheus, prometheus
from promtool import needed
from proxy import Proxy
from rules import rules
from seaway.jetstream import JetStream
from sign_ups import a_request, clients
from waiting import until
from watched import ALERTS, DASHBOARDS, ROOT, asked, expressions, panels_of

pytestmark = [pytest.mark.slow, needed, pytest.mark.timeout(1500)]

FASTER = 30
FULL = SIZE != "smoke"
WITHIN = 150.0
"""Seconds that an alert may take to fire, or to end, on a machine that has no time for us."""
PROCESSES = (9101, 9102, 9103, 9104, 9105, 9106)
SERVICES = ("gateway", "user-creation", "welcome-email", "data-warehouse", "crm", "monitor")
AWAY, BURNS = "SeawayDependencyAway", "SeawaySignUpErrorBudgetBurn"
# What a slow machine, or a backlog after an outage, may add to what was taken away.
BESIDE = {
    "SeawayEventLoopSlow",
    "SeawaySignUpLatencyBudgetBurn",
    "SeawaySignUpLatencyBudgetBurnSlowly",
}
SLOW = {"SeawayOldestMessageTooOld", "SeawayConsumerStalled", "SeawayDrainTooSlow"}
"""… of a durable that lacks nothing. One whose dependency is away is not to be told of twice."""
LASTS = {f"{BURNS}Slowly"}
"""It tells of an outage for hours, as the runbook says."""

EXPECTED = {
    "SMTP": {(AWAY, "welcome-email-create-user-confirmed")},
    "CRM": {(AWAY, "crm-create-user-confirmed")},
    "object store": {(AWAY, "data-warehouse-users")},
    "database": {(AWAY, "user-creation-create-user-requested"), (BURNS, "")},
    "broker": {("SeawayBrokerAway", service) for service in SERVICES} | {(BURNS, "")},
}
"""What fires when it is taken away, and whose: the table in docs/operate.md."""
IF_IT_LASTS = {"object store": {("SeawayWarehouseUpkeepFails", "")}}
"""… and what may: three rounds of upkeep fail if it is away for long."""


@dataclass
class Watched:
    dev: Development
    prometheus: Prometheus
    away: dict
    """How each dependency is taken away, and how it is given back."""
    seen: set = field(default_factory=set)
    """All that has fired since it was last emptied."""

    async def fires(self, holds):
        """Wait until what fires is as it should be; keep in mind all that did meanwhile."""

        def look():
            firing = self.prometheus.firing()
            self.seen |= firing
            return holds({each for each in firing if each[0] not in BESIDE | LASTS})

        try:
            await until(lambda: asyncio.to_thread(look), WITHIN, every=0.25)
        except TimeoutError:
            firing = await asyncio.to_thread(self.prometheus.firing)
            raise AssertionError(f"firing {firing}, fired {self.seen}") from None

    async def seaway(self, *arguments):
        done = await asyncio.to_thread(self.dev.seaway, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


async def people(stub):
    """Sign up five people a second. One of the first wants an address that is taken."""
    async with asyncio.TaskGroup() as tasks:
        for number in count(1):
            taken = {"email": "ada@example.org"} if number in (1, 20) else {}
            tasks.create_task(one(stub, a_request(**taken)))
            await asyncio.sleep(0.2)


async def one(stub, request):
    with suppress(grpc.aio.AioRpcError):
        async for _ in stub.SignUp(request, timeout=10):
            pass
        await stub.GetSignUp(api.GetSignUpRequest(request_id=request.request_id), timeout=5)


@asynccontextmanager
async def watched(folder):
    """A system with people who sign up, and a Prometheus that watches it."""
    async with AsyncExitStack() as stack:
        away = {}
        told = {
            "gateway": 'SEAWAY_STREAM_SECONDS = "5"',
            "monitor": 'SEAWAY_LOOK_EVERY = "0.2"',
            "welcome-email": 'SEAWAY_SMTP_PER_SECOND = "0"',
            "data-warehouse": 'SEAWAY_WAREHOUSE_UPKEEP_SECONDS = "2"',
        }
        if FULL:
            database = stack.enter_context(PostgreSQL())
            store = stack.enter_context(object_store())
            link = await stack.enter_async_context(Proxy(store.port))
            told["user-creation"] = f'SEAWAY_DATABASE_URL = "{database.new_database()}"'
            told["data-warehouse"] += (
                f', SEAWAY_WAREHOUSE_URL = "s3://{store.new_bucket()}/users"'
                f', SEAWAY_WAREHOUSE_S3_ENDPOINT = "http://127.0.0.1:{link.port}"'
                ', SEAWAY_WAREHOUSE_S3_ACCESS_KEY_ID = "any"'
                ', SEAWAY_WAREHOUSE_S3_SECRET_ACCESS_KEY = "any"'
            )
            away["database"] = (in_a_thread(database.stop), in_a_thread(database.start))
            away["object store"] = (at_once(link.shut), at_once(link.open))
        (folder / "seaway.toml").write_text(manifest(told))
        dev = await asyncio.to_thread(Development, folder)
        stack.callback(dev.close)
        await asyncio.to_thread(dev.up)
        programs = {
            "SMTP": "mail-catcher",
            "CRM": "fake-crm",
            **({"broker": "nats"} if FULL else {}),
        }
        for dependency, program in programs.items():
            away[dependency] = (
                in_a_thread(dev.seaway, "stop", program),
                in_a_thread(dev.seaway, "start", program),
            )
        [stub] = await stack.enter_async_context(clients([dev.port(50051)]))
        asking = asyncio.create_task(people(stub))
        stack.callback(asking.cancel)
        ports = [dev.port(number) for number in PROCESSES]
        fast = rules(Clock(1 / FASTER))
        server = await stack.enter_async_context(prometheus(folder / "prometheus", fast, ports))
        yield Watched(dev, server, away)


def in_a_thread(call, *arguments):
    return lambda: asyncio.to_thread(call, *arguments)


def at_once(call):
    async def called():
        call()

    return called


def manifest(told):
    """seaway.toml as it is, with more settings for some services."""
    lines = []
    for line in (ROOT / "seaway.toml").read_text().splitlines():
        if line.startswith("[services."):
            name = line.removeprefix("[services.").partition("]")[0]
        if line.startswith("environment = {") and name in told:
            line = line.replace("environment = {", f"environment = {{ {told.pop(name)},")
        lines.append(line)
        if line.startswith("metrics_port") and name == "user-creation" in told:
            lines.append(f"environment = {{ {told.pop(name)} }}")
    assert told == {}
    return "\n".join(lines)


async def test_dashboards_show_what_runs_and_alerts_what_was_taken_away(tmp_path, capsys):
    async with watched(tmp_path) as system:
        async with JetStream(f"nats://127.0.0.1:{system.dev.port(4222)}", "stranger") as broker:
            await broker.connected()
            await publish(broker, [undecodable()])
        await every_panel_shows_something(system)
        # One alert is there already: what could not be handled waits for a person.
        letters = ("SeawayDeadLetters", "user-creation-create-user-requested")
        await system.fires(lambda firing: letters in firing)
        await system.seaway("dead-letters", "discard", "--all")
        await system.fires(lambda firing: not firing)
        for dependency in system.away:
            fired, told, ended = await outage(system, dependency)
            mine = {durable for _, durable in EXPECTED[dependency]}
            beside = {
                (name, whose)
                for name, whose in fired
                if name in BESIDE | LASTS or (name in SLOW and whose not in mine)
            }
            with capsys.disabled():
                named = ", ".join(sorted(name for name, _ in beside)) or "nothing"
                print(f"\n{dependency} away: told after {told:.0f} s, over {ended:.0f} s after it"
                      f" is back; beside: {named}")  # fmt: skip
            beside |= IF_IT_LASTS.get(dependency, set())
            assert fired - beside == EXPECTED[dependency]


async def outage(system, dependency):
    """Take it away until it is told, then give it back: what fired, and how long that took."""
    take_away, give_back = system.away[dependency]
    wanted = EXPECTED[dependency]
    assert {name for name, _ in wanted} <= ALERTS.keys()
    system.seen.clear()
    began = time.monotonic()
    await take_away()
    await system.fires(lambda firing: firing >= wanted)
    told = time.monotonic() - began
    # Long enough for those to come that would be one too many.
    end = time.monotonic() + 3
    await system.fires(lambda _: time.monotonic() > end)
    began = time.monotonic()
    await give_back()
    await system.fires(lambda firing: not firing)
    return system.seen, told, time.monotonic() - began


async def every_panel_shows_something(system):
    queries = {
        f"{uid}: {panel['title']}: {expression}": asked(expression, interval="20s")
        for uid, board in DASHBOARDS.items()
        for panel in panels_of(board)
        for expression in expressions(panel)
    }
    assert len(queries) > 60

    def look():
        for name, query in tuple(queries.items()):
            if system.prometheus.ask(query):
                del queries[name]
        return not queries

    try:
        await until(lambda: asyncio.to_thread(look), WITHIN, every=0.5)
    except TimeoutError:
        raise AssertionError("without data:\n" + "\n".join(queries)) from None
