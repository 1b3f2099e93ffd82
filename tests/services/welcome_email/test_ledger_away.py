"""The ledger's database goes away while a mail is under way: no mail is lost, one may come twice.

It goes at the named points: E2, reserved and not handed over; E3, taken and not recorded. And
with the record of it committed, and nobody told. PostgreSQL is stopped as by `pg_ctl stop -m
immediate`; SQLite is held by another writer for longer than we wait.
"""

import asyncio
import signal
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from acme.users.v1 import SignUpEmailHandled
from postgresql import PostgreSQL
from proxy import Proxy
from seaway.database import Database
from sqlalchemy import text
from structlog.testing import capture_logs
from waiting import until
from welcome_email.ledger import MIGRATIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN = 120.0
COMMITTED = b"COMMIT\0"
"""How PostgreSQL answers a COMMIT."""


class Stopped:
    """A PostgreSQL that can be stopped at once, and started again."""

    def __init__(self, folder):
        self.server = PostgreSQL()

    def __enter__(self):
        self.server.__enter__()
        self.url = self.server.new_database()
        return self

    def __exit__(self, *error):
        self.server.__exit__(*error)

    def go(self):
        self.server.stop(signal.SIGQUIT)

    def come_back(self):
        self.server.start()


class Held:
    """A SQLite that somebody else writes to, and does not let go of."""

    def __init__(self, folder):
        self.file = folder / "held.db"
        self.url = f"sqlite+aiosqlite:///{self.file}"

    def __enter__(self):
        # It does not wait: whoever writes just now needs this thread to come to an end.
        self.other = sqlite3.connect(self.file, isolation_level=None, timeout=0)
        return self

    def __exit__(self, *error):
        self.other.close()

    def go(self):
        self.other.execute("BEGIN IMMEDIATE")

    def come_back(self):
        self.other.execute("ROLLBACK")


@dataclass
class At:
    """Takes the database away when a mail comes by a point, once, after so many came by it."""

    point: str
    go: object
    after: int = 0
    came: Counter = field(default_factory=Counter)
    has_gone: bool = False

    def __call__(self, point):
        self.came[point] += 1
        if point == self.point and self.came[point] > self.after and not self.has_gone:
            # If somebody writes just now it is the next who comes by.
            with suppress(sqlite3.OperationalError):
                self.go()
                self.has_gone = True


@pytest.fixture(params=[Stopped, Held])
def mortal(request, tmp_path):
    with request.param(tmp_path) as mortal:
        yield mortal


@pytest.fixture
def going(monkeypatch):
    """Have something happen when a mail comes by a point."""

    def at(point, go, after=0):
        going = At(point, go, after)
        monkeypatch.setattr("welcome_email.post.crash_here", going)
        return going

    return at


@asynccontextmanager
async def opened(url):
    async with Database(url, "welcome_email", MIGRATIONS) as database:
        await database.migrate()
        yield database


async def attempts(database):
    """How often each mail was begun, as the ledger says; all of them are to be SENT."""
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT message_id, state, attempts FROM mails"))
        rows = found.all()
    assert {row.state for row in rows} == {"SENT"}
    return {row.message_id: row.attempts for row in rows}


def greeted(running):
    said = [m for m in running.published if isinstance(m, SignUpEmailHandled)]
    assert {m.kind for m in said} == {SignUpEmailHandled.KIND_GREETING}
    return sorted(m.request_id for m in said)


def named(logs):
    return [log["action"] for log in logs if log["event"] == "ambiguous"]


async def sent_through(running, users, going, mortal, logs):
    """Send, let the database go as planned, be missed, and come back; return when all is done."""
    sending = asyncio.create_task(running.send(*users, within=WITHIN))
    await until(lambda: going.has_gone or sending.done(), WITHIN)
    missed = len([log for log in logs if log["event"] == "not handled"])
    await until(
        lambda: len([log for log in logs if log["event"] == "not handled"]) > missed, WITHIN
    )
    mortal.come_back()
    await sending


@pytest.mark.parametrize(
    "case",
    [
        ("E2", "DATA", "", 2),  # it is taken, and that could not be recorded
        ("E2", "DATA", "451 later", 1),  # it is not, and that could not be recorded either
        ("E2", "DATA", None, 1),  # nobody knows
        ("E2", "ANSWER", None, 2),  # nobody knows, and it was
        ("E3", "DATA", "", 2),
    ],
    ids=["E2 taken", "E2 deferred", "E2 cut off", "E2 taken and cut off", "E3"],
)
async def test_a_mail_comes_once_more_at_most_and_the_log_says_so(
    mortal, going, server, system, confirmed, case
):
    point, step, answer, mails = case
    server.say(step, answer)
    user = confirmed()
    async with opened(mortal.url) as database:
        gone = going(point, mortal.go)
        with capture_logs() as logs:
            async with system(database) as running:
                await sent_through(running, [user], gone, mortal, logs)
                assert running.dead_letters == []
                assert greeted(running) == [user.request_id]
        again = (await attempts(database))[user.request_id] - 1
    # Once; unless the database, that has just come back, is so slow that it is away once more.
    assert again >= 1
    assert named(logs) == ["resend"] * again
    assert server.mails == [server.mails[0]] * (mails + again - 1)


async def test_of_many_mails_none_is_lost_and_each_that_came_twice_was_named(
    mortal, going, server, system, confirmed
):
    users = [confirmed(email=f"{n}@example.org") for n in range(30)]
    async with opened(mortal.url) as database:
        gone = going("E3", mortal.go, after=7)
        with capture_logs() as logs:
            async with system(database) as running:
                await sent_through(running, users, gone, mortal, logs)
                assert running.dead_letters == []
                assert greeted(running) == sorted(user.request_id for user in users)
        again = {id: count - 1 for id, count in (await attempts(database)).items() if count > 1}
    mails = Counter(mail["Message-ID"].strip("<>").partition("@")[0] for mail in server.parsed())
    assert mails.keys() == {user.request_id for user in users}
    repeated = mails - Counter(mails.keys())
    # Who waits for a lock may outlast it, and record after all what was sent.
    assert repeated.total() >= 1 or isinstance(mortal, Held)
    assert set(repeated.values()) <= {1}
    assert repeated <= Counter(again)
    assert sum(again.values()) == len(named(logs))


async def test_a_record_that_is_committed_though_nobody_was_told_is_enough(
    going, server, system, confirmed, postgresql
):
    url, user = postgresql.new_database(), confirmed()
    async with Proxy(postgresql.port) as link:
        through = url.replace(f":{postgresql.port}/", f":{link.port}/")
        async with opened(through) as database:
            gone = going("E3", lambda: link.lose_next(COMMITTED))
            with capture_logs() as logs:
                async with system(database) as running:
                    await running.send(user, within=WITHIN)
                    assert running.dead_letters == []
                    assert greeted(running) == [user.request_id]
            assert await attempts(database) == {user.request_id: 1}
    assert gone.has_gone
    assert link.lost == 1
    assert named(logs) == []
    assert len(server.mails) == 1
