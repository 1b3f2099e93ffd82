"""Five images, a broker and a database in containers: somebody signs up."""

import json
import time
from urllib.parse import quote
from urllib.request import urlopen
from uuid import uuid4

import pytest
from composed import AUDITED, METRICS, OURS
from containers import COMPOSE

ADA = ("--email", "ada@example.org", "--name", "Ada Lovelace")
NOT_COMPILED = """
from importlib.util import cache_from_source
from pathlib import Path
sources = [each for folder in ("/opt", "/usr") for each in Path(folder).rglob("*.py")]
assert len(sources) > 1000, len(sources)
print(*(each for each in sources if not Path(cache_from_source(each)).exists()))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def signed_up(composed):
    """The id of a sign-up that has gone all the way."""
    request_id = str(uuid4())
    target = ("--target", composed.address("gateway", 50051))
    options = ("--request-id", request_id, "--until", "emailed", "--timeout", "100")
    told = composed.seaway("sign-up", *ADA, *target, *options)
    assert told.returncode == 0, told.stdout + told.stderr + composed.log("gateway")
    states = [line.split()[0] for line in told.stdout.splitlines()]
    assert states == ["ACCEPTED", "CONFIRMED", "EMAILED"]
    return request_id


@pytest.mark.parametrize("name", OURS)
def test_a_start_compiles_nothing(composed, capsys, name):
    """How long a start takes is told, and the machine's; that no start does this work is ours."""
    cpu, wall = composed.ready_after[name]
    with capsys.disabled():
        print(f"\n{name}: ready after {cpu:.1f} s of a processor, {wall:.1f} s of a clock")
    python = ["/opt/seaway/bin/python", "-I", "-c", NOT_COMPILED]
    assert composed.container(name).exec_run(python) == (0, b"\n")


def test_everybody_who_listens_acts_on_a_sign_up(composed, signed_up):
    clean = composed.seaway("audit", "--settled-within", "60", *services_of(composed))
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "everybody who listens has acted" in composed.seaway("trace", signed_up).stdout
    assert "ada@example.org" in composed.log("mail")


def services_of(composed):
    where = [f"{name}=http://{composed.address(name, METRICS)}" for name in AUDITED]
    return [part for one in where for part in ("--service", one)]


def test_topology_is_as_the_services_declare_it(composed):
    assert composed.seaway("topology", "check").stdout == "as declared\n"


def test_users_are_in_the_postgresql_of_the_container(composed, signed_up):
    """Each service that has a database has a schema of its own there."""
    asked = [
        *("psql", "--username=seaway", "--dbname=seaway", "-XAtc"),
        "SELECT email FROM user_creation.users",
    ]
    status, said = composed.container("postgres").exec_run(asked)
    assert (status, said.decode().split()) == (0, ["ada@example.org"])


def test_prometheus_sees_everybody(composed):
    query = quote('up{job="seaway"} == 1')
    until = time.monotonic() + 60  # it asks each 15 s
    while True:
        url = f"http://{composed.address('prometheus', 9090)}/api/v1/query?query={query}"
        with urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        seen = {one["metric"]["instance"] for one in found}
        if seen == {f"{name}:9090" for name in OURS} or time.monotonic() > until:
            break
        time.sleep(0.2)
    assert seen == {f"{name}:9090" for name in OURS}


@pytest.mark.parametrize("name", [n for n in COMPOSE["services"] if n in (*OURS, "fake-crm")])
def test_nobody_is_root_and_nothing_can_be_written_or_run_that_is_not_there(composed, name):
    container = composed.container(name)
    assert container.attrs["Config"]["User"] == "10001:10001"
    assert container.attrs["HostConfig"]["ReadonlyRootfs"] is True
    python = ["/opt/seaway/bin/python", "-c"]
    status, said = container.exec_run([*python, "import os; print(os.getuid(), os.getgid())"])
    assert (status, said.decode().split()) == (0, ["10001", "10001"])
    status, said = container.exec_run([*python, "open('/opt/seaway/new', 'w')"])
    assert status == 1
    assert b"Read-only file system" in said
    status, said = container.exec_run(["/bin/sh", "-c", "true"])
    assert status != 0
    assert b"no such file" in said


@pytest.mark.parametrize("name", OURS)
def test_sigterm_is_handled_by_the_service_which_is_process_1(composed, signed_up, name):
    container = composed.container(name)
    [[*_, command]] = container.top(ps_args="-o pid,args")["Processes"]
    assert command.startswith("/opt/seaway/bin/python -I /opt/seaway/bin/service")
    container.stop(timeout=60)  # then SIGKILL: 137
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0, composed.log(name)
