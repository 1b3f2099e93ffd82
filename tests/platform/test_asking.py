"""Asking services over HTTP: what a process tells on its metrics port, and how it fails."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRequested
from processes import free_ports
from seaway.audit import Unaskable, ask_services, telling
from seaway.audit.telling import Question
from seaway.audit.told import Recorded
from seaway.errors import DependencyDown
from seaway.health import LINES_AT_ONCE, Health, serving
from seaway.inbox import Handled, MemoryInbox, NoInbox
from seaway.service import Row, Service

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUESTION = Question("USERS")
DURABLE = "guest-book-create-user-requested"


def a_service(inbox=None):
    service = Service("guest-book", inbox or MemoryInbox())

    @service.on(CreateUserRequested, start="now")
    async def never_called(_): ...

    return service


@asynccontextmanager
async def served(tell):
    async with serving(Health(tells={"/audit": tell}), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def ask(url):
    (told,) = await ask_services({"guest-book": [url]}, QUESTION)
    return told


async def get(url):
    def read():
        try:
            with urlopen(url, timeout=5) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    return await asyncio.to_thread(read)


async def test_records_and_rows_arrive_as_they_were_told():
    inbox, count = MemoryInbox(), 2 * LINES_AT_ONCE + 1
    async with inbox.transaction(DURABLE) as transaction:
        await transaction.record([Handled(f"id-{n}", n, b"%064d" % n) for n in range(1, count)])
    service = a_service(inbox)

    async def rows(since):
        for name in ("Ada", "Ada", "Bob"):
            yield Row(CreateUserConfirmed(request_id=f"key-of-{name}", display_name=name), AT)

    service.projects(CreateUserConfirmed, rows)
    async with served(telling(service)) as url:
        told = await ask(url)
    durable = told.durables[DURABLE]
    assert (durable.start, durable.is_kept, len(durable.records)) == ("now", True, count - 1)
    assert durable.records["id-7"] == Recorded(7, b"%064d" % 7)
    rows = told.rows["acme.users.v1.CreateUserConfirmed"]
    assert {key: row.at for key, row in rows.items()} == {"key-of-Ada": AT, "key-of-Bob": AT}
    assert told.second_rows == [("acme.users.v1.CreateUserConfirmed", "key-of-Ada")]


async def test_what_is_forgotten_is_told_as_such_and_without_a_hash():
    inbox = MemoryInbox()
    async with inbox.transaction(DURABLE) as transaction:
        await transaction.record([Handled("gone", 1, b"", forgotten=True)])
        await transaction.record([Handled("kept", 2, b"%064d" % 2)])
    service = a_service(inbox)

    async def rows(_):
        # A row counts for more than that it is to be forgotten, in whatever order they come.
        for name, forgotten in (("Ada", True), ("Bob", True), ("Bob", False), ("Bob", True)):
            yield Row(CreateUserConfirmed(request_id=name), AT, forgotten=forgotten)

    service.projects(CreateUserConfirmed, rows)
    async with served(telling(service)) as url:
        status, body = await get(f"{url}/audit?stream=USERS")
        told = await ask(url)
    assert status == 200
    lines = [json.loads(line) for line in body.splitlines()]
    [gone] = [line for line in lines if line.get("message_id") == "gone"]
    assert (gone["outcome"], gone["sha256"]) == ("forgotten", "")
    assert told.durables[DURABLE].records["gone"] == Recorded(1, b"", forgotten=True)
    assert not told.durables[DURABLE].records["kept"].forgotten
    rows = told.rows["acme.users.v1.CreateUserConfirmed"]
    assert {key: row.forgotten for key, row in rows.items()} == {"Ada": True, "Bob": False}
    assert told.second_rows == []


async def test_a_service_that_keeps_no_record_says_so():
    async with served(telling(a_service(NoInbox()))) as url:
        durable = (await ask(url)).durables[DURABLE]
    assert (durable.is_kept, durable.records) == (False, {})


async def test_a_program_without_the_question_tells_nothing():
    async with serving(Health(), "127.0.0.1", 0) as port:
        told = await ask(f"http://127.0.0.1:{port}")
    assert not told.tells


async def test_one_replica_that_answers_is_enough():
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with served(telling(a_service())) as url:
        (told,) = await ask_services({"guest-book": [nobody, url]}, QUESTION)
    assert DURABLE in told.durables


async def test_all_that_cannot_be_asked_are_named():
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with served(telling(a_service())) as url:
        with pytest.raises(Unaskable, match=r"crm cannot be asked: .*; shop cannot be asked: it"):
            await ask_services({"crm": [nobody], "guest-book": [url], "shop": []}, QUESTION)


async def test_what_fails_before_it_begins_is_an_error_and_no_empty_answer():
    async def tell(_):
        raise DependencyDown("the database is away")
        yield

    async with served(tell) as url:
        status, body = await get(f"{url}/audit")
        assert (status, json.loads(body)["wrong"]) == (503, {"question": "the database is away"})
        with pytest.raises(Unaskable, match=r"answers 503: .*the database is away"):
            await ask(url)


async def test_what_fails_in_the_middle_is_an_error_and_no_short_answer():
    async def tell(_):
        for _ in range(LINES_AT_ONCE + 1):
            yield json.dumps({"service": "guest-book"})
        raise DependencyDown("the database went away")

    async with served(tell) as url:
        status, _ = await get(f"{url}/audit")
        assert status == 200
        with pytest.raises(Unaskable, match="the database went away"):
            await ask(url)


async def test_a_process_that_ends_in_the_middle_is_no_short_answer():
    async def break_off(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        line = b'{"service": "guest-book"}\n'
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n" % len(line) + line + b"\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unaskable, match="stopped in the middle of its answer"):
            await ask(f"http://127.0.0.1:{port}")


async def test_a_question_that_is_not_understood_is_refused():
    async with served(telling(a_service())) as url:
        status, body = await get(f"{url}/audit?from=1")
        assert status == 400
        assert "say which stream" in body.decode()


async def test_what_is_not_here_names_what_is():
    async with served(telling(a_service())) as url:
        status, body = await get(f"{url}/somewhere")
    assert status == 404
    assert json.loads(body)["wrong"]["/somewhere"].endswith("/metrics, /livez, /readyz, /audit")
