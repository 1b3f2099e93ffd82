"""What all rooms of the tests need."""

import asyncio
import atexit
import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
import seaway
import structlog
from coverage import Coverage
from databases import DATABASES, PostgreSQL
from forks import forking

pytest_plugins = ["goals"]

IN_CI = bool(os.environ.get("CI"))
HERE = Path(__file__).parent
LOGGED = structlog.get_config()
MEASURED = {"contract", "platform", "system"}
"""The rooms that test the platform itself …"""
LEFT_OUT = (
    *("audit", "conformance", "crashing", "first_sign_up", "killed", "listeners"),
    *("nothing_leaks", "permissions", "purging", "traces"),
)
"""… and files of theirs that start many processes, which reach little that no others do. To be
measured takes a process twice as long, so here only the tests themselves are.
"""
TOLD_TO_MEASURE = "COVERAGE_PROCESS_CONFIG"
HOW_TO_MEASURE = pytest.StashKey[str]()
SLOWEST = ("chaos", "system", "browser", "deploy")
"""The rooms whose files take longest …"""
LONGEST = (
    *("f12_repeats", "f16_poison", "f04_leader_kills", "f15_replay", "f25_power_cut"),
    *("f05_parted_brokers", "f22_listeners", "f21_slow_listeners", "r07_service_kills"),
    *("f07_pauses", "f08_database_away", "f05_partitions", "properties", "f16_killers"),
    *("f02_kill_loop", "f03_broker_kills", "f18_rolling_restart", "watched", "f14_reordering"),
)
"""… and, of `make chaos`, the longest files."""
MEMORY = Path("/dev/shm")
ROOM = 8 << 30
"""Bytes: more than twice what a whole run keeps at a time."""


def pytest_configure(config):
    """Keep what a whole run stores in memory, where there is room for it.

    Hundreds of brokers and databases that write each message through make one disk stall for
    seconds, and a time-out that runs out by that says nothing. Memory survives the kill of a
    process; the power cuts and full disks of tests/chaos bring file systems of their own.
    """
    at_once = getattr(config.option, "numprocesses", None)
    if at_once and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="seaway-", dir=MEMORY)
        Path(tempfile.tempdir).chmod(0o755)  # PostgreSQL is not root
        atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import what is measured, and measure nothing else until the first test runs.

    Each worker imports the files of all tests: measured, it takes it three times as long.
    """
    measuring = Coverage.current()
    if measuring is None:
        return (yield)
    for module in walk_packages(seaway.__path__, "seaway."):
        if not module.name.endswith(".__main__"):
            import_module(module.name)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that at the end all cores have work."""

    def place(item):
        room, name = _where(item)
        return _place(room, SLOWEST), _place(name, LONGEST)

    items.sort(key=place)
    for item in items:
        if _where(item)[0] not in MEASURED:
            item.add_marker("no_cover")


def _where(asked):
    """The folder of tests/ in which a test is, and the name of its file."""
    return asked.path.relative_to(HERE).parts[0], asked.path.stem.removeprefix("test_")


def _place(name, named):
    """Its place among those that are named, or behind all of them."""
    return named.index(name) if name in named else len(named)


def _failed_if_skipped(report):
    """In CI a test that did not run has not passed: everything it needs is to be there."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI that is a failure: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _failed_if_skipped((yield))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Measure which lines of the platform a test reaches in the processes that it starts, too.

    Here and not in a fixture: whoever measures sets the variable anew after each test.
    """
    room, name = _where(item)
    if TOLD_TO_MEASURE in os.environ:
        item.config.stash[HOW_TO_MEASURE] = os.environ.pop(TOLD_TO_MEASURE)
    if room in MEASURED and name not in LEFT_OUT and HOW_TO_MEASURE in item.config.stash:
        os.environ[TOLD_TO_MEASURE] = item.config.stash[HOW_TO_MEASURE]


@pytest.fixture(autouse=True, scope="session")
def quickly_started():
    """Start services and commands as forks. tests/chaos says where not."""
    with forking():
        yield


@pytest.fixture(autouse=True)
def logged_as_at_first():
    """Forget before each test where others have logs written to, and from which level on.

    A command that runs in the process of a test sets both up, for a stdout that is closed then.
    """
    structlog.configure(**LOGGED)
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def postgresql():
    """One PostgreSQL for all tests. Each takes a database of its own: `new_database()`."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def all_waiting(postgresql):
    """Return a function that returns when so many transactions wait for another's row."""

    async def wait(number):
        async with asyncio.timeout(5):
            locks = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while int(await asyncio.to_thread(postgresql.sql, locks)) < number:
                pass

    return wait


@pytest.fixture(params=DATABASES)
def database_url(request, tmp_path):
    """An empty database; the test runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/folder/test.db"
    return request.getfixturevalue("postgresql").new_database()
