"""What `seaway dev` is made of: its folder, its ports, its socket, its watcher."""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, closing
from uuid import uuid4

import psutil
import pytest
from seaway.dev import folder as folders
from seaway.dev.control import Answer, Request, ask, listening
from seaway.dev.folder import LOCK, NAME, InUse, clear, sole_use
from seaway.dev.health import ask_health
from seaway.dev.ports import OFFSET, Ports, holder_of, is_taken, offset_of_running
from seaway.dev.watcher import MARK, read_groups, survivors
from seaway.manifest import read_manifest

MANIFEST = """
[services.gateway]
command = ["python", "-m", "gateway"]
metrics_port = 9101
ports = { grpc = 50051, web = 8080 }
[services.crm]
command = ["python", "-m", "crm"]
metrics_port = 9105
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / NAME).mkdir()
    return tmp_path / NAME


# Its folder


def test_who_uses_the_folder_is_named_to_the_second_one(folder):
    with sole_use(folder), pytest.raises(InUse, match=rf"process {os.getpid()}\)"):
        sole_use(folder).__enter__()
    with sole_use(folder):  # and then it is free again
        pass


@pytest.fixture
def cleaned_up(folder):
    """Hold the lock as the watcher of a killed one does, that has no process any more."""
    lock = (folder / LOCK).open("w+")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)


def test_what_is_left_of_a_killed_one_is_waited_for(folder, cleaned_up):
    soon = threading.Timer(0.1, cleaned_up)
    soon.start()
    with sole_use(folder):
        soon.join()


def test_it_is_not_waited_for_for_ever(folder, cleaned_up, monkeypatch):
    monkeypatch.setattr(folders, "PATIENCE", 0.05)
    with pytest.raises(InUse, match="process unknown"):
        sole_use(folder).__enter__()


def test_a_fresh_start_leaves_the_lock_and_what_only_a_link_leads_to(folder, tmp_path):
    kept = tmp_path / "elsewhere"
    kept.mkdir()
    (kept / "data").touch()
    (folder / "nats").mkdir()
    (folder / "nats/stream").touch()
    (folder / "link").symlink_to(kept)
    (folder / LOCK).touch()
    (folder / "crm.db").touch()
    clear(folder)
    assert [path.name for path in folder.iterdir()] == [LOCK]
    assert (kept / "data").exists()


# Its ports


def test_every_port_is_moved_and_told(tmp_path):
    (tmp_path / "seaway.toml").write_text(MANIFEST)
    ports = Ports.of(read_manifest(tmp_path / "seaway.toml"), 1000)
    assert ports.by_purpose() == {
        "NATS": 5222,
        "NATS's monitor": 9222,
        "grpc": 51051,
        "web": 9080,
        "gateway's metrics": 10101,
        "crm's metrics": 10105,
    }
    assert ports.environment() == {
        "SEAWAY_NATS_URL": "nats://127.0.0.1:5222",
        "SEAWAY_GRPC_PORT": "51051",
        "SEAWAY_WEB_PORT": "9080",
        OFFSET: "1000",
    }


@pytest.mark.parametrize(("said", "offset"), [("1000", 1000), ("", 0), ("a lot", 0)])
def test_a_command_learns_by_how_much_they_are_moved(monkeypatch, said, offset):
    monkeypatch.setenv(OFFSET, said)
    assert offset_of_running() == offset


def test_a_port_is_taken_by_who_listens_and_by_who_only_holds_it():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert is_taken(port)
        assert holder_of(port) == ""  # nobody listens there
        taken.listen()
        assert is_taken(port)
        assert holder_of(port) == f"{psutil.Process().name()}, process {os.getpid()}"
    assert not is_taken(port)


# Its socket


async def test_a_command_is_answered_and_whatever_else_comes_does_no_harm(folder, monkeypatch):
    monkeypatch.chdir(folder)  # the path to a socket may have no more than 107 letters
    asked = []

    async def answer(request):
        asked.append(request)
        return Answer(done=True, text="stopped", environment={"SEAWAY_GRPC_PORT": "50051"})

    def say(line):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("dev.sock")
            connection.sendall(line)
            return connection.recv(100)

    stop = Request("stop", "crm")
    async with listening(folder, answer):
        for strange in (b"hello\n", b'{"verb": "stop", "more": 1}\n', b"[]\n"):
            assert await asyncio.to_thread(say, strange) == b""
        told = await asyncio.to_thread(ask, folder.parent, stop)
    assert asked == [stop]
    assert told == Answer(done=True, text="stopped", environment={"SEAWAY_GRPC_PORT": "50051"})
    assert ask(folder.parent, stop) is None  # it is gone, and its socket with it
    assert not (folder / "dev.sock").exists()


# Whether a program is ready


@asynccontextmanager
async def answering(*lines):
    """A program that answers so, whatever it is asked; without lines it says nothing."""
    asked = asyncio.Event()

    async def serve(reader, writer):
        asked.set()
        await reader.readuntil(b"\r\n\r\n")
        if not lines:
            await reader.read()
        writer.write(b"\r\n".join(lines))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        assert asked.is_set()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([b"HTTP/1.0 200 OK", b"", b""], (200, "")),
        ([b"HTTP/1.0 503 Not now", b"", b"broker: away\n"], (503, "broker: away")),
        ([b"SSH-2.0-OpenSSH_9.2"], (0, "")),
        ([b"* BAD what is this", b"", b""], (0, "")),
        ([], (0, "")),
    ],
)
async def test_a_program_is_ready_when_it_says_so(lines, told):
    async with answering(*lines) as port:
        assert await ask_health(port, "/readyz") == told


async def test_where_nobody_listens_nobody_is_ready():
    assert await ask_health(9, "/readyz") == (0, "")


# Its watcher


def test_of_the_groups_that_began_those_are_left_that_did_not_end():
    assert read_groups(["+7\n", "+8\n", "-7\n", "-9\n"]) == {8}
    assert read_groups([]) == set()


def test_what_is_left_is_found_by_its_group_or_by_its_mark_and_nothing_else_is():
    token, code = str(uuid4()), "import sys; print(flush=True); sys.stdin.read()"

    def program(**environment):
        return subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    with program() as by_group, program(**{MARK: token}) as by_mark, program() as stranger:
        everybody = (by_group, by_mark, stranger)
        for each in everybody:
            each.stdout.readline()  # it has its own environment by now
        found = {process.pid for process in survivors(token, {by_group.pid})}
        for each in everybody:
            each.stdin.close()
            each.wait()
    assert found == {by_group.pid, by_mark.pid}
    assert not list(survivors(token, {by_group.pid}))
