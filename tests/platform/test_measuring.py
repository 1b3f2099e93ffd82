"""What `make test` says of the platform's coverage counts processes, and holds for whole runs."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from seaway.tracing.traceparent import place_of

ROOT = Path(__file__).parents[2]
TEST = """
import subprocess, sys

PROGRAM = "from seaway.tracing.traceparent import place_of; place_of('')"

def test_what_comes_first():
    pass  # whoever measures sets up anew after each test what processes are told

def test_it():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
"""


def is_counted(folder):
    """Whether what a test in this folder reaches by a process that it starts is counted."""
    where = folder / "test_it.py"
    where.parent.mkdir(parents=True)
    where.write_text(TEST)
    tests = next(path for path in where.parents if path.name == "tests")
    (tests / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    ours = {k: v for k, v in os.environ.items() if k not in ("CI", "COVERAGE_PROCESS_CONFIG")}
    told = folder / "coverage.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", where),
            *(
                "-p",
                "no:cacheprovider",
                "--rootdir",
                tests,
                "-o",
                f"pythonpath={ROOT}/tests/support",
            ),
            *("--cov", f"--cov-config={ROOT}/pyproject.toml", f"--cov-report=json:{told}"),
        ],
        cwd=ROOT,
        env=ours | {"COVERAGE_FILE": str(folder / ".coverage")},
        check=True,
    )
    files = json.loads(told.read_text())["files"]
    (file,) = (file for name, file in files.items() if Path(name).name == "traceparent.py")
    lines, first = inspect.getsourcelines(place_of)
    return not {*range(first + 1, first + len(lines))}.isdisjoint(file["executed_lines"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_process_reaches_that_a_test_starts_is_counted(tmp_path):
    assert is_counted(tmp_path / "tests/contract")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_many_are_killed_no_process_is_slowed_down_by_measuring(tmp_path):
    assert not is_counted(tmp_path / "tests/chaos")


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
