"""Faults, on purpose. Each test proves that its fault happened, and prints what it measured.

Two sizes: the smoke of `make test`, and the whole of `make chaos` (SEAWAY_CHAOS=full), which has
to end within the hour. SEAWAY_CHAOS=long lasts as long as it takes. A seed chooses what is killed
when; SEAWAY_SEED repeats a run.
"""

import os
import random
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import structlog
from forks import not_forking
from goals import MEASURED, SEED, SIZE, Goal
from postgresql import PostgreSQL

# gRPC, which clients use here, would otherwise stop a process that is just being started (tried).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
FULL = SIZE in {"full", "long"}
TIMES = {"smoke": 900, "full": 3600, "long": 86_400}
"""Seconds that one test may take."""
KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Mortal:
    url: str
    server: PostgreSQL | None


def pytest_configure(config):
    config.addinivalue_line("markers", "store(kind): the database that its smoke size uses")
    config.addinivalue_line("markers", "timed_start: a figure is how soon what is started works")


def pytest_generate_tests(metafunc):
    one = main_store(metafunc.definition)
    for name in {"store", "mortal"} & {*metafunc.fixturenames}:
        kinds = sorted(KINDS, key=lambda kind: kind != one) if FULL else [one]
        metafunc.parametrize(name, kinds, indirect=True)


def main_store(test):
    """The kind of database that a test uses if it uses one."""
    chosen = test.get_closest_marker("store")
    return chosen.args[0] if chosen else "postgresql"


def size_of(test):
    """How large a test is: on the other kind of database the full run has the smoke size."""
    given = getattr(test, "callspec", None)
    kinds = {} if given is None else given.params
    on_the_other = kinds.get("store", kinds.get("mortal")) not in {None, main_store(test)}
    return "smoke" if SIZE == "full" and on_the_other else SIZE


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/chaos/" in item.nodeid:
            item.add_marker(pytest.mark.slow)
            if not any(item.iter_markers("timeout")):
                item.add_marker(pytest.mark.timeout(TIMES[SIZE]))


@pytest.fixture(autouse=True)
def started_in_earnest(request, quickly_started):
    """Start no forks in full size, where a figure is how soon what is started works."""
    timed = FULL and request.node.get_closest_marker("timed_start")
    with not_forking() if timed else nullcontext():
        yield


@pytest.fixture
def store(request, tmp_path):
    """The URL of an empty database. In smoke size a test runs on one kind, else on both."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def mortal(request, tmp_path):
    """A database that may be killed: its `url`, and its `server` if it is PostgreSQL."""
    if request.param == "sqlite":
        yield Mortal(f"sqlite+aiosqlite:///{tmp_path}/store.db", None)
    else:
        with PostgreSQL() as server:
            yield Mortal(server.new_database(), server)


@pytest.fixture
def goal(pytestconfig, request):
    """Record a figure. Fails if the fault hit less often than it has to, to prove anything.

    A figure of time or speed that is not `met` fails in full size only, and only if nothing ran
    beside it: else it may owe it to that, and says that it was missed.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ

    def record(id, value, target, *, hits, least, met=True):
        name = request.node.name.removeprefix("test_")
        size = size_of(request.node)
        measured = Goal(id, value, target, hits, f"{name}, {size}", met)
        pytestconfig.stash[MEASURED].append(str(measured))
        assert hits >= least, f"{measured}: the fault hit {hits} times, and {least} prove it"
        assert met or size == "smoke" or not alone, measured

    return record


@pytest.fixture
def size(request):
    """Choose between the sizes: `size(smoke=20, full=100)`; the long one is full unless given."""
    mine = size_of(request.node)

    def choose(smoke, full, long=None):
        return {"smoke": smoke, "full": full, "long": full if long is None else long}[mine]

    return choose


@pytest.fixture
def dice():
    """What chooses, so that a run can be repeated."""
    return random.Random(SEED)


@pytest.fixture
def quiet():
    """Thousands of things that go wrong as planned are not worth a line each."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)
