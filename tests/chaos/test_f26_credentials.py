"""F26: the broker is told of other passwords, and for ten seconds nobody has the right one."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

from runner import Run
from seaway.testing import nats_server
from seaway.testing.nats_server import CONFIG

TARGET = 15.0
USER = 'authorization {{ users = [{{user: "seaway", password: "{}"}}] }}'
RIGHT, WRONG = USER.format("right"), USER.format("wrong")


class Guarded:
    """A broker that asks for a password, and can be told of another one."""

    def __init__(self, server):
        self.server = server

    @property
    def url(self):
        return self.server.url.replace("//", "//seaway:right@")

    def reload(self, users):
        """Rewrite its configuration and have it read it (SIGHUP), as an operator does."""
        folder = self.server._folder
        config = CONFIG.format(port=self.server.port, folder=folder.as_posix(), more=users)
        (folder / "nats.conf").write_text(config)
        os.kill(self.server.pid, signal.SIGHUP)


@asynccontextmanager
async def guarded():
    async with nats_server(RIGHT) as server:
        yield Guarded(server)


async def test_all_are_back_soon_after_the_credentials_are_right_again(
    tmp_path, store, goal, size, capsys
):
    rotations, gaps = size(smoke=1, full=5), []
    async with guarded() as broker, Run(tmp_path, store, server=broker) as run:
        async with run.load(per_second=20) as load:
            for _ in range(rotations):
                await load.caught()
                run.fault("password wrong")
                broker.reload(WRONG)
                await asyncio.sleep(10)  # it lasts
                run.hits += sum(not p.is_ready() for p in run.system.programs)
                at = run.fault("password right")
                broker.reload(RIGHT)
                await run.ready()
                gaps.append(await load.gap(at))
        accepted = await run.check()
        exits = [code for program in run.system.programs for code in program.exits]
        said = "".join(program.text() for program in run.system.programs)
    with capsys.disabled():
        print(f"\n  {run.summary()}, exits {exits}")
    assert accepted == len(run.history)
    assert "right@" not in said
    goal(
        "F26 healthy after the rotation",
        max(gaps),
        f"<= {TARGET:g} s",
        hits=run.hits,
        least=2 * rotations,
        met=max(gaps) <= TARGET,
    )
