"""What README promises of a machine without a Python that will do: a sentence, not a riddle."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
# As uv 0.13.9 answers where only Python 3.11 is installed; with -q it would list nothing.
OLD_PYTHON_ONLY = """#!/bin/sh
case "$*" in
  "python find"*) exit 2 ;;
  "python list"*-q*) ;;
  "python list"*) echo "cpython-3.11.2-linux-x86_64-gnu    /usr/bin/python3.11" ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    for name in ("Makefile", ".python-version", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    for member in workspace["members"]:
        (tmp_path / member).mkdir(parents=True)
        shutil.copy(ROOT / member / "pyproject.toml", tmp_path / member)
    return tmp_path


def make(clone, **environment):
    return subprocess.run(
        [MAKE, "setup"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_python_it_says_so(clone, tmp_path):
    answer = make(clone, PATH=str(tmp_path / "empty"))
    assert answer.returncode != 0
    assert "no 'python3' found; install Python 3.12 or newer" in answer.stdout


def test_with_an_older_one_it_says_which_it_found(clone):
    uv = clone / ".uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(OLD_PYTHON_ONLY)
    uv.chmod(0o755)
    answer = make(clone, PATH="/usr/bin:/bin")
    assert answer.returncode != 0
    assert "needs Python 3.12 or newer, and found only:\n  cpython-3.11.2" in answer.stdout
    assert not (clone / ".venv").exists()
