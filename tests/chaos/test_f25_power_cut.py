"""The power goes, for the broker and the database at once: nothing accepted is lost.

Both keep their data on one ext4 in a loop file. A copy of that file is what the disk held at that
instant; nobody syncs for us. Everything starts again from the copy, and is audited.
"""

import asyncio
import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil
import pytest
from disks import Disk, needs_mounts, roomy_folder
from invariants import differences, quiet, state_of
from postgresql import PostgreSQL
from processes import Processes
from seaway.audit import settled
from seaway.jetstream import JetStream
from seaway.testing.nats_server import NatsServer
from sign_ups import Load, SignUp, clients

pytestmark = needs_mounts

MEGABYTES = 512
AT_ONCE = 5
"""Copies that are kept at the same time."""
PER_SECOND = 100.0
PAUSES = (0.3, 1.0)
"""Seconds between two cuts."""
FORGETFUL = 'jetstream {{ store_dir: "{}", max_file: 64GB }}'
"""As above in its configuration, but for `sync_interval`: NATS's default is two minutes."""
FORGETFUL_WITHIN = 30.0
"""Seconds for all that is left to do after a cut of its power."""


class Stores:
    """A broker and a database, with all their data on one disk."""

    def __init__(self, disk, kind, *, forgetful=False):
        self.nats, self.sql = disk.folder / "nats", disk.folder / kind
        more = FORGETFUL.format(self.nats / "store") if forgetful else ""
        self.server = NatsServer(self.nats, more)
        self.postgresql = PostgreSQL(state=self.sql / "state") if kind == "postgresql" else None
        self._is_new = not self.nats.exists()

    async def __aenter__(self):
        self.nats.mkdir(exist_ok=True)
        self.sql.mkdir(exist_ok=True)
        if self.postgresql is None:
            self.database_url = f"sqlite+aiosqlite:///{self.sql}/user-creation.db"
        else:
            self._enter_postgresql()
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        await self.server.kill()
        if self.postgresql is not None:
            self.postgresql.__exit__()

    def _enter_postgresql(self):
        if self.postgresql.as_nobody:
            shutil.chown(self.sql, "nobody")
        (self.postgresql.state / "postmaster.pid").unlink(missing_ok=True)  # as after a boot
        self.postgresql.__enter__()
        self.database_url = (
            self.postgresql.new_database()
            if self._is_new
            else f"postgresql+asyncpg://postgres@127.0.0.1:{self.postgresql.port}/test_1"
        )

    def pids(self):
        """Every process that writes to the disk."""
        servers = [psutil.Process(self.server.pid)]
        return [p.pid for p in servers + (self.postgresql.processes() if self.postgresql else [])]


@contextmanager
def folder_for_images(folder):
    images = roomy_folder(folder, (AT_ONCE + 2) * MEGABYTES)
    try:
        yield images
    finally:
        if images != folder:
            shutil.rmtree(images)


@contextmanager
def paused(pids):
    """While nobody runs who writes to the disk. They notice nothing but a pause."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@dataclass
class Cut:
    """What the disk held at one instant, and what clients had been told before it."""

    disk: Disk
    history: list[SignUp]
    in_hand: int

    @property
    def accepted(self):
        return sum(one.accepted for one in self.history)


async def cut(disk, image, pids, load, dice):
    await asyncio.sleep(dice.uniform(*PAUSES))  # the instant is the fault, and any will do
    in_hand = await load.caught()
    # From here to the end nothing is awaited: no client hears anything any more.
    history = [replace(one, told=list(one.told)) for one in load.history]
    with paused(pids):
        return Cut(disk.copy_to(image), history, in_hand)


async def cuts(folder, images, kind, dice, count, *, forgetful):
    """Cut the power so many times while people sign up."""
    with Disk.new(images / "disk", MEGABYTES) as disk:
        async with (
            Stores(disk, kind, forgetful=forgetful) as stores,
            Processes(folder, stores.database_url, server=stores.server) as system,
            clients(system.grpc_ports, 4) as stubs,
        ):
            disk.settle()  # what is there before anybody signs up was there for long
            async with Load(stubs, [], PER_SECOND) as load:
                files = [images / f"copy-{number}" for number in range(count)]
                return [await cut(disk, file, stores.pids(), load, dice) for file in files]


async def audited(cut, kind, folder, *, forgetful):
    """Start everything from a copy, let it finish what is there; return all differences."""
    with cut.disk as disk:
        async with Stores(disk, kind, forgetful=forgetful) as stores:
            url, store = stores.server.url, stores.database_url
            async with (
                Processes(folder, store, server=stores.server, gateways=0),
                JetStream(url, "test") as broker,
            ):
                await broker.connected()
                if forgetful:  # its durables may wait for ever for what is not there any more
                    await settled(broker, FORGETFUL_WITHIN)
                else:
                    await quiet(broker)
                found = differences(cut.history, await state_of(broker, store))
    cut.disk.image.unlink()
    # Whoever waited at the cut will ask again. Here nobody does.
    return [difference for difference in found if not difference.startswith("I6")]


async def run(folder, kind, dice, count, *, forgetful=False):
    """Cut the power `count` times; return each cut, and the differences that it made."""
    results = []
    with folder_for_images(folder) as images:
        while missing := count - len(results):
            many = min(AT_ONCE, missing)
            made = await cuts(folder, images, kind, dice, many, forgetful=forgetful)
            results += [
                (each, await audited(each, kind, folder, forgetful=forgetful)) for each in made
            ]
    return results


def lost(differences):
    """Those who were accepted, and whose request is not stored or has no outcome."""
    return {each.split()[1] for each in differences if each.startswith("I1")}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_power_cut_takes_nothing_that_was_accepted(tmp_path, kind, dice, size, goal):
    results = await run(tmp_path, kind, dice, size(smoke=2, full=25))

    missing = [each for _, found in results for each in lost(found)]
    accepted = sum(cut.accepted for cut, _ in results)
    print(f"\n  {kind}: {len(results)} cuts, {accepted} accepted before them, {len(missing)} lost")
    hits = sum(cut.in_hand > 0 for cut, _ in results)
    goal("R5", len(missing), f"0 accepted lost ({kind})", hits=hits, least=len(results))
    assert [found for _, found in results if found] == []


async def test_the_same_with_nats_own_sync_interval_loses_what_was_accepted(tmp_path, dice, goal):
    [(cut, found)] = await run(tmp_path, "sqlite", dice, 1, forgetful=True)

    missing = len(lost(found))
    print(f"\n  mutant: {cut.accepted} accepted before the cut, {missing} lost")
    goal("R5-mutant", missing, "> 0, or R5 proves nothing", hits=cut.accepted, least=1)
    assert missing > 0
