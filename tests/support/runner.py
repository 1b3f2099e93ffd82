"""How a fault test is written: a run has a system, a load with a history, faults, a check.

    async def test_a_killed_broker_loses_nothing(tmp_path, store, goal, size):
        async with Run(tmp_path, store, gateways=2, workers=2) as run:
            async with run.load(per_second=50) as load:             # real clients, real gateways
                for _ in range(size(smoke=8, full=100)):
                    run.hits += bool(await load.caught())           # somebody is waiting now
                    at = run.fault("broker killed")                 # noted, with its time
                    await run.system.server.restart()
                    gaps.append(await load.gap(at))                 # until somebody new is served
            lost = await run.check()                                # quiet in 60 s, I1-I3, I6-I8
        goal("R6", max(gaps), "< 5 s", hits=run.hits, least=8)

- `tmp_path`, `goal`, `size`, `dice`, `store` are fixtures (tests/chaos/conftest.py). `store` is
  the URL of an empty database: both kinds in full size, in smoke one of them, PostgreSQL unless
  the test says `@pytest.mark.store("sqlite")`. To break a PostgreSQL start one of your own.
- `run.system`: `.server` the broker, `.gateways`, `.workers`, `.programs`, each a `Program` with
  kill/start/stop/strike/pause/resume/ready/asked/text (tests/support/processes.py).
- What ends by itself, or by `program.strike()`, is started again after 0.1 s, as an orchestrator
  would. `kill()` and `stop()` are for a test that starts it again by itself.
- More than one load may follow each other, and several run at once; the history is of all.
- `database_url=`, `nats_url=` of services may be functions (module, number) -> URL: proxies
  (tests/support/proxy.py). Tests look past them: `store`, and `server`.
- `linked_run(...)` is a Run in which each service has a link of its own to the broker, and each
  worker one to PostgreSQL: `run.links` and `run.database_links`, by (module, number).
- `run.check(poison=3)`: three dead letters are ours. It fails with every difference, and the
  history is then in `history.jsonl` of the test's folder.
"""

import time
from contextlib import AsyncExitStack, asynccontextmanager

from invariants import audited, check
from nats_servers import nats_server
from processes import Processes, supervised
from proxy import Proxy
from sign_ups import Load, a_request, clients, errors_of
from sqlalchemy import make_url

SHOWN = 20


class Run:
    """One system under faults, and the history of those who used it."""

    def __init__(self, folder, store, *, database_url=None, supervise=True, **system):
        self.folder = folder
        self.store = store
        self.system = Processes(folder, database_url or store, **system)
        self.history = []
        self.faults = []
        self.hits = 0
        """Faults that hit something in hand."""
        self._supervise = supervise
        self._open = AsyncExitStack()

    async def __aenter__(self):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.system)
            if self._supervise:
                await stack.enter_async_context(supervised(self.system.programs))
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *error):
        await self._open.__aexit__(*error)

    @asynccontextmanager
    async def load(self, per_second=50.0, *, ask=a_request, connections=4):
        """Have people sign up, so many a second. At the end all of them are waited for."""
        async with (
            clients(self.system.grpc_ports, connections) as stubs,
            Load(stubs, self.history, per_second, ask) as load,
        ):
            yield load

    def fault(self, what):
        """Note a fault, and return when it was."""
        self.faults.append((time.monotonic(), what))
        return self.faults[-1][0]

    async def ready(self, within=120.0):
        """Wait until every service can do its job."""
        for program in self.system.programs:
            await program.ready(within)

    async def check(self, poison=0):
        """Wait for quiet, and fail with every difference. Returns how many were accepted."""
        await self.ready()
        found = await check(
            self.history,
            url=self.system.server.url,
            database_url=self.store,
            ports=self.system.grpc_ports,
            poison=poison,
        )
        found += await audited(self.system)
        if found:
            self._write_history()
            shown = "\n".join(found[:SHOWN])
            raise AssertionError(f"{len(found)} differences, of {len(self.history)}:\n{shown}")
        return sum(one.accepted for one in self.history)

    def summary(self):
        """What happened, in one line."""
        kills = {program.name: program.kills for program in self.system.programs if program.kills}
        waits = sorted(one.ended_at - one.begun for one in self.history if one.ended)
        longest = f"{waits[-1]:.1f}" if waits else "-"
        return (
            f"{len(self.history)} sign-ups, {len(self.faults)} faults, {self.hits} hits, "
            f"kills {kills}, refused {errors_of(self.history)}, longest answer {longest} s"
        )

    def _write_history(self):
        lines = [str(one) for one in self.history]
        faults = [f'{{"fault": "{what}", "at": {at:.3f}}}' for at, what in self.faults]
        (self.folder / "history.jsonl").write_text("\n".join([*faults, *lines]) + "\n")


@asynccontextmanager
async def linked_run(folder, store, *, gateways=1, workers=1, **system):
    """A run in which each service reaches the broker and PostgreSQL through a proxy of its own."""
    services = [("gateway", number) for number in range(gateways)]
    users = [("user_creation", number) for number in range(workers)]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(nats_server())
        links = {
            each: await stack.enter_async_context(Proxy(server.port))
            for each in (*services, *users)
        }
        url = make_url(store)
        databases = {
            each: await stack.enter_async_context(Proxy(url.port))
            for each in users
            if url.port is not None
        }

        def nats_url(module, number):
            return f"nats://127.0.0.1:{links[module, number].port}"

        def database_url(module, number):
            link = databases.get((module, number))
            return store if link is None else str(url.set(port=link.port))

        system |= {"server": server, "nats_url": nats_url, "database_url": database_url}
        run = Run(folder, store, gateways=gateways, workers=workers, **system)
        run.links, run.database_links = links, databases
        yield await stack.enter_async_context(run)
