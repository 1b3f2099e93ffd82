"""What `make test` says of the platform's coverage counts processes, and holds for whole runs."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from seaway.tracing import traceparent

ROOT = Path(__file__).parents[2]
TEST = """
import subprocess, sys

PROGRAM = "from seaway.tracing import traceparent; traceparent.{call}"

def test_what_comes_first():
    pass  # whoever measures sets up anew after each test what processes are told

def test_it():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
"""
CALLED = {"contract": "place_of('')", "chaos": "recorded_here()"}
"""By the name of a room: what a process reaches there, and no other."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The lines that are counted of what processes reach, each started in one of two rooms."""
    folder = tmp_path_factory.mktemp("measuring")
    tests = folder / "tests"
    for room, call in CALLED.items():
        (tests / room).mkdir(parents=True)
        (tests / room / f"test_{room}.py").write_text(TEST.format(call=call))
    (tests / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    ours = {k: v for k, v in os.environ.items() if k not in ("CI", "COVERAGE_PROCESS_CONFIG")}
    told = folder / "coverage.json"
    asked = ("-p", "no:cacheprovider", "--rootdir", tests)
    paths = ("-o", f"pythonpath={ROOT}/tests/support")
    measured = ("--cov", f"--cov-config={ROOT}/pyproject.toml", f"--cov-report=json:{told}")
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", tests),
            *(*asked, *paths, *measured),
        ],
        cwd=ROOT,
        env=ours | {"COVERAGE_FILE": str(folder / ".coverage")},
        check=True,
    )
    files = json.loads(told.read_text())["files"]
    (file,) = (file for name, file in files.items() if Path(name).name == "traceparent.py")
    return set(file["executed_lines"])


def body_of(function):
    """The numbers of its lines, without the first: that one is reached by an import, too."""
    lines, first = inspect.getsourcelines(function)
    return {*range(first + 1, first + len(lines))}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_process_reaches_that_a_test_starts_is_counted(counted):
    assert counted & body_of(traceparent.place_of)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_many_are_killed_no_process_is_slowed_down_by_measuring(counted):
    assert not counted & body_of(traceparent.recorded_here)


def commands_of(*arguments):
    """What `make test` would run."""
    # A make around this one would hand down what it was told itself.
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "ARGS")}
    asked = subprocess.run(
        ["make", "-n", "test", *arguments], cwd=ROOT, env=clean, capture_output=True, check=True
    )
    return asked.stdout.decode()


def test_too_little_coverage_fails_a_whole_run_and_no_part_of_one():
    assert "--cov-fail-under=" in commands_of()
    part = commands_of("ARGS=-k watch")
    assert "-k watch" in part
    assert "--cov-fail-under" not in part
