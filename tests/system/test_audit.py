"""`seaway audit` on a real system: clean when all adds up; what is planted is named."""

import asyncio
import json
import time
from functools import partial
from uuid import UUID, uuid4

import pytest
from acme.users.v1 import CreateUserRejected, CreateUserRequested
from auditing import audit, endpoints
from development import seaway
from held import locked
from processes import Processes
from seaway.audit import ask_services, audited, settled
from seaway.broker import Posting
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable
from seaway.jetstream import JetStream
from seaway.testing import nats_server
from seaway.topology import DurableSpec
from sign_ups import SignUp, a_request, clients, sign_up
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OWNER = "user-creation-create-user-requested"


async def seaway_audit(system, *options):
    """Run the command for the services of a system; return its exit code and what it printed."""
    services = [f"{name}={url}" for name, urls in endpoints(system).items() for url in urls]
    asked = [word for service in services for word in ("--service", service)]
    told = {"SEAWAY_NATS_URL": system.server.url}
    done = await asyncio.to_thread(seaway, "audit", *asked, *options, **told)
    return done.returncode, done.stdout, done.stderr


def named(out):
    """Each difference that was printed, as kind and key or durable."""
    lines = [json.loads(line) for line in out.splitlines()]
    found = [line for line in lines if "difference" in line]
    return sorted((line["difference"], line["key"] or line["durable"]) for line in found)


class Saboteur:
    """Does to a running system what nothing should ever do."""

    def __init__(self, system, broker, stubs):
        self.system, self.broker, self.stubs = system, broker, stubs
        self.is_sqlite = system.database_url.startswith("sqlite")

    async def sql(self, *statements, **values):
        schema = "" if self.is_sqlite else "user_creation."
        engine = create_async_engine(self.system.database_url)
        try:
            async with engine.begin() as connection:
                for statement in statements:
                    changed = await connection.execute(text(statement.format(s=schema)), values)
            return changed.rowcount
        finally:
            await engine.dispose()

    async def one_more(self, **fields):
        """Sign somebody up; return the request id."""
        done = await sign_up(self.stubs, SignUp(a_request(**fields)))
        assert await settled(self.broker, 20)
        return done.request_id

    async def publish(self, body, *, subject="", data=None, rivals=True):
        posting = Envelope.opening(body, "test").posting()
        posting = Posting(
            posting.stream,
            subject or posting.subject,
            posting.data if data is None else data,
            posting.headers,
            posting.rivals if rivals else (),
        )
        (receipt,) = await self.broker.publish([posting])
        return receipt.sequence

    async def take_out(self, stream, subject):
        stored = await self.broker.read(stream, subject)
        assert await self.broker.remove(stream, stored.sequence)

    # Each returns what the audit has to name.

    async def an_inbox_row_is_deleted(self):
        key = await self.one_more()
        assert await self.sql("DELETE FROM {s}inbox WHERE message_id = :key", key=key) == 1
        return ("lost delivery", key)

    async def an_inbox_row_is_changed(self):
        key = await self.one_more()
        change = "UPDATE {s}inbox SET sha256 = :other WHERE message_id = :key"
        assert await self.sql(change, key=key, other=bytes(32)) == 1
        return ("changed body", key)

    async def a_user_is_deleted(self):
        key = await self.one_more()
        assert await self.sql("DELETE FROM {s}users WHERE request_id = :key", key=key) == 1
        return ("row missing", key)

    async def a_field_is_changed(self):
        key = await self.one_more()
        change = "UPDATE {s}users SET display_name = 'Eve' WHERE request_id = :key"
        assert await self.sql(change, key=key) == 1
        return ("changed field", key)

    async def a_moment_is_changed(self):
        key = await self.one_more()
        earlier = (
            "strftime('%Y-%m-%d %H:%M:%f', created_at, '-1 seconds')"
            if self.is_sqlite
            else "created_at - interval '1 microsecond'"
        )
        change = f"UPDATE {{s}}users SET created_at = {earlier} WHERE request_id = :key"  # noqa: S608
        assert await self.sql(change, key=key) == 1
        return ("changed field", key)

    async def a_user_is_inserted(self):
        first, key = await self.one_more(), str(uuid4())
        await self.sql(self._copy("'other'", ":key"), key=key, first=first)
        return ("row without event", key)

    async def a_user_is_inserted_twice(self):
        key = await self.one_more()
        await self.sql(*self._without_constraints())
        await self.sql(self._copy("'another'", "request_id"), first=key)
        return ("second row", key)

    async def an_outcome_is_invented(self):
        key = str(uuid4())
        await self.publish(CreateUserRejected(request_id=key))
        return ("outcome without request", key)

    async def an_outcome_is_contradicted(self):
        key = await self.one_more()
        await self.publish(CreateUserRejected(request_id=key), rivals=False)
        return ("two outcomes", key)

    async def an_outcome_is_taken_out(self):
        await self.one_more(email="taken@example.org")
        key = await self.one_more(email="taken@example.org")
        await self.take_out("USERS", f"users.v1.create-rejected.{key}")
        return ("request without outcome", key)

    async def a_request_is_taken_out(self):
        key = await self.one_more()
        await self.take_out("USERS", f"users.v1.create-requested.{key}")
        return ("record without message", key)

    async def somebody_else_acks(self):
        worker, key = self.system.workers[0], str(uuid4())
        await worker.stop()
        body = CreateUserRequested(request_id=key, email=f"{key}@example.org", display_name="A")
        await self.publish(body)
        async with self.broker.pull("USERS", OWNER) as pull:
            (delivery,) = await pull.fetch(1, 5.0)
            await delivery.ack()
        await worker.start()
        await worker.ready()
        return ("lost delivery", key)

    async def a_dead_letter_is_taken_out(self):
        key = str(uuid4())
        body = CreateUserRequested(request_id=key, email="a@example.org", display_name="A")
        await self.publish(body, data=b"\xff\xff")
        assert await settled(self.broker, 20)
        _, out, _ = await seaway_audit(self.system, "--json")
        assert {"durable": OWNER, "key": key, "reason": "UNDECODABLE"}.items() <= (
            json.loads(out.splitlines()[-2]).items()
        )
        await self.take_out("DEAD", f"dead.{OWNER}.{key}")
        return ("lost delivery", key)

    async def a_durable_is_made_by_hand(self):
        spec = DurableSpec("by-hand", "nobody", "USERS", ("users.v1.>",), "now", 5.0, 1000)
        await self.broker.put_durable("USERS", spec.config())
        return ("durable without service", "by-hand")

    def _copy(self, user_id, request_id):
        return (
            "INSERT INTO {s}users (user_id, request_id, email, email_normalised, display_name, "  # noqa: S608
            f"locale, created_at) SELECT {user_id}, {request_id}, email, user_id || '@x.org', "
            "display_name, locale, created_at FROM {s}users WHERE request_id = :first"
        )

    def _without_constraints(self):
        if not self.is_sqlite:
            return ["ALTER TABLE {s}users DROP CONSTRAINT users_request_id_key"]
        return [
            "CREATE TABLE copied AS SELECT * FROM users",
            "DROP TABLE users",
            "ALTER TABLE copied RENAME TO users",
        ]


SABOTAGE = [name for name in vars(Saboteur) if name.startswith(("a_", "an_", "some"))]


async def test_each_difference_is_named_and_nothing_else(tmp_path, database_url):
    async with (
        Processes(tmp_path, database_url) as system,
        clients(system.grpc_ports) as stubs,
        JetStream(system.server.url, "saboteur") as broker,
    ):
        await broker.connected()
        saboteur = Saboteur(system, broker, stubs)
        await saboteur.one_more()
        code, out, err = await seaway_audit(system, "--settled-within", "20")
        assert (code, err) == (0, "")
        assert out == "accepted 1  outcomes 1  dead letters 0  pending 0  unaccounted 0\n"
        expected = []
        # After these nobody signs up: the table is another, and a durable is never settled.
        last = ("a_user_is_inserted_twice", "a_durable_is_made_by_hand")
        for name in [*(name for name in SABOTAGE if name not in last), *last]:
            expected.append(await getattr(saboteur, name)())
            report = await audit(system, within=20)
            found = [(str(d.kind), d.key or d.durable) for d in report.differences]
            assert sorted(found) == sorted(expected), name
        code, out, err = await seaway_audit(system, "--json")
        assert (code, named(out), err) == (1, sorted(expected), "")
        assert json.loads(out.splitlines()[-1])["unaccounted"] == len(SABOTAGE)
        code, out, _ = await seaway_audit(system, "--since", "1h", "--json")
        assert (code, named(out)) == (1, sorted(expected))
        await broker.delete_durable("USERS", OWNER)
        code, out, _ = await seaway_audit(system, "--json")
        assert code == 1
        assert ("service without durable", OWNER) in named(out)


async def test_while_messages_flow_and_services_are_killed_nothing_is_missed(
    tmp_path, database_url, capsys
):
    sign_ups = [SignUp(a_request(email=f"{n // 2}@example.org")) for n in range(600)]
    reports = []
    async with (
        Processes(tmp_path, database_url, workers=2) as system,
        clients(system.grpc_ports, 4) as stubs,
        JetStream(system.server.url, "audit") as broker,
        asyncio.TaskGroup() as tasks,
    ):
        await broker.connected()
        room = asyncio.Semaphore(100)

        async def one_by_one(one):
            async with room:
                await sign_up(stubs, one)

        async def kill():
            # The second replica is never killed, so that somebody always answers.
            for threshold in (100, 300):
                await until(lambda: sum(s.ended for s in sign_ups) > threshold, 60)  # noqa: B023
                await system.workers[0].kill()
                await system.workers[0].start()

        waiting = [tasks.create_task(one_by_one(one)) for one in sign_ups]
        waiting.append(tasks.create_task(kill()))
        while not all(task.done() for task in waiting):
            reports.append(await audited(broker, partial(ask_services, endpoints(system))))
        reports.append(await audit(system))
    assert [report.differences for report in reports if not report.is_clean] == []
    assert reports[-1].summary() == (
        "accepted 600  outcomes 600  dead letters 0  pending 0  unaccounted 0"
    )
    pending = [sum(report.pending.values()) for report in reports]
    with capsys.disabled():
        print(f"\n  {len(reports)} audits, pending {pending}")
    assert sum(map(bool, pending)) >= 3


async def test_many_are_audited_in_no_time(tmp_path, capsys):
    many = 4 * 500
    async with (
        Processes(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/test.db") as system,
        JetStream(system.server.url, "audit") as broker,
    ):
        await broker.connected()
        for start in range(0, many, 500):
            requests = (
                CreateUserRequested(
                    request_id=str(UUID(int=n)), email=f"{n}@example.org", display_name="Ada"
                )
                for n in range(start, start + 500)
            )
            await broker.publish([Envelope.opening(one, "test").posting() for one in requests])
        assert await settled(broker, 60)
        began = time.monotonic()
        code, out, _ = await seaway_audit(system)
        took = time.monotonic() - began
    with capsys.disabled():
        print(f"\n  {many:,} sign-ups audited in {took:.1f} s, the start of the command included")
    counts = "dead letters 0  pending 0  unaccounted 0\n"
    assert (code, out) == (0, f"accepted {many:,}  outcomes {many:,}  {counts}")


@pytest.mark.parametrize("given", ["crm", "crm=", "crm=https://x", "=http://x"])
def test_a_service_that_is_given_wrongly_is_wrong_usage(given):
    ran = seaway("audit", "--service", given)
    assert ran.returncode == 2
    assert "NAME=http://HOST:PORT" in ran.stderr


async def test_what_is_not_settled_in_time_has_an_exit_code_of_its_own(tmp_path):
    file = tmp_path / "test.db"
    body = CreateUserRequested(request_id=str(uuid4()), email="a@example.org", display_name="A")
    async with (
        Processes(tmp_path, f"sqlite+aiosqlite:///{file}") as system,
        JetStream(system.server.url, "test") as broker,
    ):
        await broker.connected()
        with locked(file):
            await broker.publish([Envelope.opening(body, "test").posting()])
            code, out, err = await seaway_audit(system, "--settled-within", "0.5")
        assert (code, err) == (5, "not settled within 0.5 s\n")
        assert out == "accepted 1  outcomes 0  dead letters 0  pending 1  unaccounted 0\n"
        code, out, err = await seaway_audit(system, "--settled-within", "60")
        assert (code, err) == (0, "")
        assert out == "accepted 1  outcomes 1  dead letters 0  pending 0  unaccounted 0\n"


async def test_a_broker_that_is_away_has_the_same_time():
    async with nats_server() as server, JetStream(server.url, "test") as broker:
        await broker.connected()
        await server.kill()
        with pytest.raises(BrokerUnavailable):
            await settled(broker, within=0)
        waiting = asyncio.create_task(settled(broker, within=60))
        with pytest.raises(BrokerUnavailable):  # so has the other been told by now
            await settled(broker, within=0)
        await server.start()
        assert await waiting


async def test_a_service_that_cannot_be_asked_is_named(tmp_path):
    async with Processes(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/test.db") as system:
        await system.workers[0].stop()
        code, out, err = await seaway_audit(system)
        assert (code, out) == (3, "")
        assert "user-creation cannot be asked: http://127.0.0.1:" in err
        await system.workers[0].start()
        await system.workers[0].ready()
        system.server.pause()
        code, out, err = await seaway_audit(system)
        assert (code, out) == (3, "")
        assert "the broker cannot be reached" in err
