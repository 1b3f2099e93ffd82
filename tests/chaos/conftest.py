"""Faults, on purpose. Each test proves that its fault happened, and prints what it measured.

Two sizes: the smoke of `make test`, and the whole of `make chaos` (SEAWAY_CHAOS=full). A seed
chooses what is killed when; SEAWAY_SEED repeats a run.
"""

import os
import random
from dataclasses import dataclass

import pytest
import structlog
from postgresql import PostgreSQL

# gRPC, which clients use here, would otherwise stop a process that is just being started (tried).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
FULL = os.environ.get("SEAWAY_CHAOS") == "full"
SEED = int(os.environ.get("SEAWAY_SEED", random.randrange(1_000_000)))
MEASURED = pytest.StashKey[list]()


@dataclass(frozen=True)
class Goal:
    """A figure of the plan, and what this run made of it."""

    id: str
    value: float
    target: str
    hits: int

    def __str__(self):
        return f"GOAL {self.id} value={self.value:g} target={self.target} hits={self.hits}"


@dataclass(frozen=True)
class Mortal:
    url: str
    server: PostgreSQL | None


def pytest_configure(config):
    config.stash[MEASURED] = []
    config.addinivalue_line("markers", "store(kind): the database that its smoke size uses")


def pytest_generate_tests(metafunc):
    chosen = metafunc.definition.get_closest_marker("store")
    one = chosen.args[0] if chosen else "postgresql"
    for name in {"store", "mortal"} & {*metafunc.fixturenames}:
        kinds = ["sqlite", "postgresql"] if FULL else [one]
        metafunc.parametrize(name, kinds, indirect=True)


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/chaos/" in item.nodeid:
            item.add_marker(pytest.mark.slow)
            if not any(item.iter_markers("timeout")):
                item.add_marker(pytest.mark.timeout(3600 if FULL else 240))


def pytest_terminal_summary(terminalreporter, config):
    if measured := config.stash[MEASURED]:
        terminalreporter.section(f"goals (seed {SEED}, {'full' if FULL else 'smoke'})")
        for goal in measured:
            terminalreporter.write_line(str(goal))


@pytest.fixture
def store(request, tmp_path):
    """The URL of an empty database. In full size a test runs on both kinds, in smoke on one."""
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
def goal(pytestconfig):
    """Record a figure. Fails if the fault hit less often than it has to, to prove anything."""

    def record(id, value, target, *, hits, least):
        measured = Goal(id, value, target, hits)
        pytestconfig.stash[MEASURED].append(measured)
        assert hits >= least, f"{measured}: the fault hit {hits} times, and {least} prove it"

    return record


@pytest.fixture
def size():
    """Choose between the two sizes: `size(smoke=20, full=100)`."""
    return lambda smoke, full: full if FULL else smoke


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
