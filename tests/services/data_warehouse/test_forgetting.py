"""Who is forgotten is no loss: the audit is told so by the table itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pyarrow.compute as pc
import pytest
from acme.users.v1 import SignUpEmailHandled
from data_warehouse.cli import STREAM
from data_warehouse.entries import as_arrow
from data_warehouse.forgetting import conversations, delete
from data_warehouse.place import Place
from data_warehouse.rebuilding import Rebuilding
from data_warehouse.table import Origin, commit
from deltalake import DeltaTable
from development import seaway
from processes import free_ports
from seaway.audit import Kind, ask_services, audited
from seaway.envelope import Envelope
from warehouses import SCHEMA, a_running_warehouse, requested, rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DURABLE = "data-warehouse-users"


class Audited:
    """A warehouse that runs, and the audit of it."""

    def __init__(self, running, port):
        self.running, self.url = running, f"http://127.0.0.1:{port}"

    async def report(self, since=None):
        ask = partial(ask_services, {"data-warehouse": [self.url]})
        return await audited(self.running.broker, ask, since)

    async def command(self):
        """Run `seaway audit`; return its exit code and its lines."""
        asked = ("audit", "--service", f"data-warehouse={self.url}")
        done = await asyncio.to_thread(seaway, *asked, **self.running.settings)
        return done.returncode, done.stdout.splitlines()

    async def user(self, **fields):
        """Sign somebody up; return the user's id."""
        request = requested(**fields)
        await self.running.keep(request)
        found = rows(self.running.url, ["request_id", "user_id"])
        return next(
            r["user_id"]
            for r in found
            if (r["request_id"], bool(r["user_id"])) == (request.request_id, True)
        )

    async def forget(self, user):
        code, lines, complaints = await self.running.command("forget", user)
        assert (code, complaints) == (0, ""), lines


@pytest.fixture
async def warehouse(tmp_path):
    (port,) = free_ports(1)
    async with a_running_warehouse(
        tmp_path, str(tmp_path / "users"), SEAWAY_METRICS_PORT=str(port)
    ) as running:
        yield Audited(running, port)


async def test_who_is_forgotten_is_counted_apart_and_nobody_else_is(warehouse):
    gone = await warehouse.user(email="gone@example.org")
    await warehouse.user(email="stays@example.org")
    assert (await warehouse.report()).summary().endswith("unaccounted 0")
    await warehouse.forget(gone)
    report = await warehouse.report()
    assert (report.differences, report.forgotten) == ((), {DURABLE: 3})
    code, lines = await warehouse.command()
    assert code == 0
    assert lines[0] == f"forgotten: {DURABLE} keeps nothing of 3, as told"
    assert lines[-1].endswith("unaccounted 0  forgotten 3")
    recent = await warehouse.report(since=datetime.now(UTC) - timedelta(hours=1))
    assert (recent.differences, recent.forgotten) == ((), {DURABLE: 3})


async def test_what_comes_later_of_somebody_forgotten_is_no_loss_either(warehouse):
    user = await warehouse.user()
    await warehouse.forget(user)
    # Somebody gave the address of whom we know nothing any more: a conversation of its own.
    late = SignUpEmailHandled(request_id=str(uuid4()), user_id=user)
    posting = Envelope.opening(late, source="test").posting()
    await warehouse.running.broker.publish([posting])
    await warehouse.running.settled()
    assert (await warehouse.report()).forgotten == {DURABLE: 4}
    await warehouse.running.broker.rewind_durable("USERS", DURABLE, 1)
    await warehouse.running.settled()
    code, *_ = await warehouse.running.command("rebuild")
    assert code == 0
    report = await warehouse.report()
    assert (report.differences, report.forgotten) == ((), {DURABLE: 4})
    kept = DeltaTable(warehouse.running.url).to_pyarrow_table().to_pylist()
    assert len(kept) == len({row["event_id"] for row in kept}) == 5  # the conversation's, too
    assert {(row["type"], row["sha256"], row["email"]) for row in kept} == {
        ("forgotten", None, None)
    }


async def test_who_is_forgotten_while_a_table_is_made_anew_does_not_come_back(warehouse):
    gone = await warehouse.user(email="gone@example.org")
    await warehouse.user(email="stays@example.org")
    url, broker = warehouse.running.url, warehouse.running.broker
    kept = (await broker.streams())["USERS"]
    rebuilding = Rebuilding(Place(url), Origin("USERS", DURABLE, kept.created), STREAM, kept)
    try:
        watermark = await rebuilding.beside(broker)
        await warehouse.forget(gone)
        rebuilding.swap(watermark)
    finally:
        rebuilding.clear()
    emails = {row["email"] for row in rows(url, ["email"])}
    assert emails == {None, "stays@example.org"}
    report = await warehouse.report()
    assert (report.differences, report.forgotten) == ((), {DURABLE: 3})


async def test_a_row_that_merely_vanished_is_a_loss(warehouse):
    await warehouse.user()
    table = DeltaTable(warehouse.running.url)
    assert delete(table, pc.field("type") == "CreateUserConfirmed") == 1
    kinds = [difference.kind for difference in (await warehouse.report()).differences]
    assert kinds == [Kind.LOST]


async def test_a_table_with_tombstones_of_whole_conversations_only_is_mended_by_a_rebuild(
    warehouse,
):
    user = await warehouse.user()
    url = warehouse.running.url
    request = next(row["request_id"] for row in rows(url) if row["user_id"] == user)
    table = DeltaTable(url)
    table.delete()
    commit(table, as_arrow(conversations(user, [request]), SCHEMA), {})
    assert [d.kind for d in (await warehouse.report()).differences] == [Kind.LOST] * 3
    code, *_ = await warehouse.running.command("rebuild")
    assert code == 0
    report = await warehouse.report()
    assert (report.differences, report.forgotten) == ((), {DURABLE: 3})
