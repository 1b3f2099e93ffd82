"""`seaway dev`, with a real broker and small programs that stand in for services."""

import os
import re
import shutil
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from development import Development, free_offset, left_of
from seaway.dev.supervisor import TURN

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SERVICES = ("first", "second")
TWO_SERVICES = """
[dev]
try = ["./seaway greet somebody"]
[services.first]
command = ["python", "standin.py", "first"]
metrics_port = 9101
ports = { grpc = 50051 }
environment = { SEAWAY_SIGN_UPS_PER_MINUTE = "0" }
[services.second]
command = ["python", "standin.py", "second"]
metrics_port = 9102
"""


def two_services_in(folder):
    shutil.copy(HERE / "standin.py", folder)
    (folder / "seaway.toml").write_text(TWO_SERVICES)


@pytest.fixture(autouse=True)
def two_services(tmp_path):
    two_services_in(tmp_path)


@pytest.fixture
def one_processor():
    """What this test starts has but one of them."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(ours)})
    yield
    os.sched_setaffinity(0, ours)


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """One for all who leave it as it was."""
    folder = tmp_path_factory.mktemp("system")
    two_services_in(folder)
    with closing(Development(folder)) as development:
        yield development.up()


def pid_of(development, name, times=1):
    return int(re.search(r"pid (\d+)", development.says(f"{name} has pid", times))[1])


def nobody_listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_ends_in_an_invitation_that_says_what_runs_where(dev):
    dev.says("./seaway greet somebody")
    text = "\n".join(dev.lines)
    assert f"nats://127.0.0.1:{dev.port(4222)}" in text
    assert f"grpc 127.0.0.1:{dev.port(50051)}" in text
    assert f"http://127.0.0.1:{dev.port(9102)}/metrics" in text
    assert "SEAWAY_SIGN_UPS_PER_MINUTE=0" in text


def test_each_service_is_prepared_before_it_starts_and_told_where_everything_is(dev):
    prepared = dev.lines.index(dev.says("prepared sqlite+aiosqlite:///.seaway/first.db"))
    assert prepared < dev.lines.index(dev.says("first has pid"))
    told = dev.says("second is told").split()
    assert {"SEAWAY_NATS_URL", "SEAWAY_GRPC_PORT", "SEAWAY_METRICS_PORT"} <= set(told)
    assert "SEAWAY_SIGN_UPS_PER_MINUTE" not in told  # that is the first one's


def test_as_many_are_started_at_once_as_there_are_processors(develop, tmp_path, one_processor):
    """So those that come first in the manifest are of use before the last ones are there."""
    (tmp_path / "first.late").write_text("1")
    (tmp_path / "second.late").write_text("0")
    dev = develop().up()
    first, second = (re.findall(r" at ([\d.]+)", dev.says(f"{n} began")) for n in SERVICES)
    began_at, ready_at = map(float, first)
    assert float(second[0]) >= min(ready_at, began_at + TURN)


def test_who_is_stopped_while_all_are_being_started_stays_so(develop, tmp_path, one_processor):
    (tmp_path / "first.late").write_text("60")
    dev = develop()
    dev.says("first has pid")
    for name in ("second", "first"):  # whose turn has not come yet, and who is not ready yet
        assert dev.seaway("stop", name).returncode == 0
    dev.up()
    assert nobody_listens(dev.port(9101))
    assert nobody_listens(dev.port(9102))
    assert dev.seaway("start", "second").stdout == "second is ready\n"


def test_lines_carry_the_name_of_who_wrote_them(dev):
    assert dev.says("second has pid").startswith("second | ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(develop, number):
    dev = develop().up()
    children = dev.children()
    assert len(children) >= 8  # broker, watcher, two services, two grandchildren each
    dev.send(number)
    assert dev.end() == 0
    assert left_of(children) == []
    assert nobody_listens(dev.port(4222))


def test_a_service_that_does_not_want_to_end_is_killed(develop, tmp_path):
    (tmp_path / "first.slow").touch()
    dev = develop().up()
    children = dev.children()
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    dev.says("first did not stop within 3 s: killed")
    assert left_of(children) == []


def test_a_second_ctrl_c_kills(develop, tmp_path):
    (tmp_path / "first.slow").touch()
    dev = develop().up()
    children = dev.children()
    dev.send(signal.SIGINT)
    dev.says("stopping")
    dev.send(signal.SIGINT)
    assert dev.end() == 1
    assert left_of(children) == []


def test_kill_9_leaves_no_child_and_no_grandchild(develop):
    dev = develop().up()
    children = dev.children()
    assert len(children) >= 8
    dev.send(signal.SIGKILL)
    dev.end()
    assert left_of(children) == []
    assert nobody_listens(dev.port(4222))


def test_kill_9_leaves_no_orphan_in_a_session_of_its_own(develop):
    dev = develop().up()
    first = psutil.Process(pid_of(dev, "first"))
    [apart] = [p for p in first.children() if os.getsid(p.pid) == p.pid]
    first.kill()
    pid_of(dev, "first", times=2)
    assert left_of([apart], within=0) == [apart]
    dev.send(signal.SIGKILL)
    assert left_of([apart]) == []


def test_kill_9_leaves_no_program_that_has_lost_its_environment(develop, tmp_path):
    bare = 'exec env -i SEAWAY_METRICS_PORT=$SEAWAY_METRICS_PORT SEAWAY_DATABASE_URL=none "$@"'
    command = f'["sh", "-c", \'{bare}\', "-", "{sys.executable}", "standin.py", "second"]'
    toml = TWO_SERVICES.replace('["python", "standin.py", "second"]', command)
    (tmp_path / "seaway.toml").write_text(toml)
    dev = develop().up()
    second = psutil.Process(pid_of(dev, "second"))
    assert "SEAWAY_DEV" not in second.environ()
    dev.send(signal.SIGKILL)
    assert left_of([second]) == []


def test_after_a_kill_9_it_starts_again_at_once(develop):
    killed = develop().up()
    killed.send(signal.SIGKILL)
    killed.end()
    develop(offset=killed.offset).up()


def test_kill_9_while_everything_is_being_started_leaves_no_child(develop):
    dev = develop()
    dev.says("prepared")
    children = dev.children()
    dev.send(signal.SIGKILL)
    dev.end()
    assert left_of(children) == []
    assert nobody_listens(dev.port(4222))


def test_a_crashed_service_is_started_again_and_that_is_said(develop):
    dev = develop().up()
    first = pid_of(dev, "first")
    begotten = [p for p in psutil.Process(first).children() if os.getpgid(p.pid) == first]
    os.kill(first, signal.SIGKILL)
    dev.says("first was ended by SIGKILL; starting it again in 0.5 s")
    assert pid_of(dev, "first", times=2) != first
    assert len(begotten) == 1
    assert left_of(begotten) == []


def test_a_broker_that_crashes_is_started_again(develop):
    dev = develop().up()
    [broker] = [child for child in dev.children() if child.name() == "nats-server"]
    broker.kill()
    dev.says("nats was ended by SIGKILL; starting it again")
    assert dev.seaway("stop", "nats").stdout == "nats is stopped\n"


def test_a_service_that_crashes_again_and_again_is_started_ever_more_slowly(develop, tmp_path):
    dev = develop().up()
    (tmp_path / "standin.py").write_text("raise SystemExit(9)")
    os.kill(pid_of(dev, "first"), signal.SIGKILL)
    dev.says("first ended with exit code 9; starting it again in 1 s")
    dev.says("first ended with exit code 9; starting it again in 2 s")
    dev.send(signal.SIGINT)  # while it waits
    assert dev.end() == 0


def test_a_taken_port_is_named_with_its_holder_and_a_way_out(develop):
    with socket.socket() as taken:
        offset = free_offset()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server takes it
        taken.bind(("127.0.0.1", 9102 + offset))
        taken.listen()
        dev = develop(offset=offset)
        assert dev.end() == 1
    line = dev.says(f"port {9102 + offset} (second's metrics) is taken")
    assert f"process {os.getpid()}" in line
    dev.says(f"--port-offset {offset + 100}")


def test_two_in_one_folder_are_refused(develop, tmp_path):
    first = develop().up()
    second = develop()
    assert second.end() == 1
    second.says(f"another seaway dev (process {first.process.pid}) runs in {tmp_path}")
    assert first.seaway("stop", "first").returncode == 0  # which is not disturbed


def test_two_in_two_folders_run_side_by_side(develop, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tmp_path, other)
    develop().up()
    develop(folder=other).up()


def test_it_keeps_its_data_until_told_to_start_afresh(develop, tmp_path):
    dev = develop().up()
    kept, ours = tmp_path / ".seaway/first.db", tmp_path / "ours.txt"
    for path in (kept, ours):
        path.write_text("kept")
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    dev = develop().up()
    assert kept.exists()
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    develop("--fresh").up()
    assert not kept.exists()
    assert ours.read_text() == "kept"


def test_fresh_removes_a_link_and_not_what_it_points_to(develop, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (tmp_path / ".seaway").mkdir()
    (tmp_path / ".seaway/link").symlink_to(elsewhere)
    develop("--fresh").up()
    assert (elsewhere / "precious").exists()
    assert not (tmp_path / ".seaway/link").exists()


def test_a_service_can_be_stopped_and_started(dev):
    first = psutil.Process(pid_of(dev, "first"))
    stopped = dev.seaway("stop", "first")
    assert (stopped.returncode, stopped.stdout) == (0, "first is stopped\n")
    assert not first.is_running()
    assert dev.seaway("stop", "first").stdout == "first is stopped already\n"
    started = dev.seaway("start", "first")
    assert (started.returncode, started.stdout) == (0, "first is ready\n")
    assert not nobody_listens(dev.port(9101))
    assert dev.seaway("start", "first").stdout == "first runs already\n"


def test_a_service_that_nobody_knows_is_refused(dev):
    refused = dev.seaway("stop", "third")
    assert refused.returncode == 1
    assert "no third here, only nats, first, second" in refused.stderr


def test_stop_says_that_nothing_runs(develop):
    dev = develop().up()
    dev.send(signal.SIGKILL)  # so that the socket stays behind
    dev.end()
    unreachable = dev.seaway("stop", "first")
    assert unreachable.returncode == 3
    assert "no `seaway dev` runs in this folder" in unreachable.stderr


def test_a_service_that_cannot_start_ends_everything(develop, tmp_path):
    (tmp_path / "second.ends").write_text("1")
    dev = develop()
    assert dev.end() == 1
    dev.says("second ended with exit code 1; `seaway start second` tries again")
    dev.says("not everything could be started: stopping the rest")
    assert nobody_listens(dev.port(4222))


def test_a_service_that_could_not_be_started_again_is_told_about(develop, tmp_path):
    dev = develop().up()
    assert dev.seaway("stop", "second").returncode == 0
    (tmp_path / "second.ends").write_text("78")
    refused = dev.seaway("start", "second")
    assert (refused.returncode, refused.stderr) == (1, "second did not start\n")
    dev.says("second ended with exit code 78 (configuration)")
    (tmp_path / "second.ends").unlink()
    assert dev.seaway("start", "second").stdout == "second is ready\n"


def test_a_service_that_crashes_into_a_wrong_configuration_is_not_started_again(develop, tmp_path):
    dev = develop().up()
    (tmp_path / "second.ends").write_text("78")
    os.kill(pid_of(dev, "second"), signal.SIGKILL)
    dev.says("second ended with exit code 78 (configuration); `seaway start second` tries again")
    (tmp_path / "second.ends").unlink()
    assert dev.seaway("start", "second").stdout == "second is ready\n"


def test_a_program_that_is_not_there_is_named(develop, tmp_path):
    toml = TWO_SERVICES.replace('["python", "standin.py", "second"]', '["no-such-program"]')
    (tmp_path / "seaway.toml").write_text(toml)
    dev = develop()
    assert dev.end() == 1
    dev.says("cannot start no-such-program: No such file or directory")


def test_ctrl_c_while_everything_is_being_started_is_heard(develop):
    dev = develop()
    dev.says("prepared")
    children = dev.children()
    dev.send(signal.SIGINT)
    assert dev.end() == 0
    assert left_of(children) == []


@pytest.mark.parametrize("channel", [os.pipe, os.openpty], ids=["pipe", "terminal"])
def test_it_goes_on_when_nobody_reads_its_output_any_more(develop, channel):
    reading, writing = channel()
    dev = develop(output=writing)
    os.close(writing)
    assert os.read(reading, 1)  # by now it listens to us
    assert dev.seaway("start", "first").returncode == 0  # which waits until it is ready
    os.close(reading)
    assert dev.seaway("stop", "first").stdout == "first is stopped\n"
    dev.send(signal.SIGINT)
    assert dev.end() == 0


def test_fresh_says_that_a_database_elsewhere_stays(develop):
    dev = develop("--fresh", SEAWAY_DATABASE_URL="postgresql+asyncpg://127.0.0.1/elsewhere")
    dev.says("SEAWAY_DATABASE_URL is set: what is in that database stays")
    dev.says("prepared postgresql+asyncpg://127.0.0.1/elsewhere")
