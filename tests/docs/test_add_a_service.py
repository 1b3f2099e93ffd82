"""Following docs/add-a-service.md gives a service that works."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from quotes import occurs, quotes_of, source_of
from seaway.manifest import read_manifest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/add-a-service.md").read_text()
QUOTES = quotes_of(PAGE)
BLOCK = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder with the files of the page, and this repository's settings of tools."""
    folder = tmp_path_factory.mktemp("fresh")
    for name, text in BLOCK.findall(PAGE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return folder


def run(repository, *command, **environment):
    source = str(repository / "services/guest_book/src")
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": source, "MYPYPATH": source} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_has_every_file_of_a_service(repository):
    written = {p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()}
    assert len(BLOCK.findall(PAGE)) == 8
    assert len(BLOCK.findall(PAGE)) + len(QUOTES) == PAGE.count("```") / 2
    assert {"seaway.toml", "services/guest_book/pyproject.toml"} <= written


@pytest.mark.parametrize(("path", "name", "quote"), QUOTES, ids=[q[1] for q in QUOTES])
def test_what_it_tells_of_welcome_email_is_what_the_code_says(path, name, quote):
    source = source_of(path, name)
    assert occurs(quote, source), f"{path} says now:\n\n{dedent(source)}"


@pytest.mark.timeout(300)  # starts a Python of its own, on a machine that may be busy
def test_its_test_passes(repository):
    answer = run(
        repository, "pytest", "--rootdir", repository, "tests/services/test_guest_book.py"
    )
    assert answer.returncode == 0, answer.stdout
    assert "2 passed" in answer.stdout


@pytest.mark.slow
def test_it_may_be_killed_where_the_page_says(repository):
    killed = ("pytest", "--rootdir", repository, "tests/services/test_guest_book_killed.py")
    answer = run(repository, *killed, "-k", "U2 or U5x2")
    assert answer.returncode == 0, answer.stdout
    assert "3 passed" in answer.stdout


@pytest.mark.slow
def test_without_its_key_it_would_be_seen_to_write_twice(repository, tmp_path):
    forgetful = tmp_path / "services/guest_book/src"
    shutil.copytree(repository / "services/guest_book/src", forgetful)
    book = forgetful / "guest_book/book.py"
    book.write_text(book.read_text().replace("if not any", "if True or any"))
    killed = ("pytest", "--rootdir", repository, "tests/services/test_guest_book_killed.py")
    answer = run(repository, *killed, "-k", "U2x1", PYTHONPATH=str(forgetful))
    assert answer.returncode == 1, answer.stdout
    assert "['Ada', 'Ada'] == ['Ada']" in answer.stdout


@pytest.mark.timeout(300)
def test_it_listens_to_what_the_page_says(repository):
    answer = run(repository, "guest_book", "topology", "show")
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    assert json.loads(line)["name"] == "guest-book-create-user-confirmed"


@pytest.mark.parametrize("option", [("check",), ("format", "--check", "--diff")])
def test_it_keeps_the_rules_of_the_house(repository, option):
    answer = run(repository, "ruff", *option, ".")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.timeout(300)
def test_its_types_are_sound(repository):
    answer = run(repository, "mypy", "services/guest_book/src")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_its_entry_in_seaway_toml_is_understood(repository):
    program = read_manifest(repository / "seaway.toml").programs["guest-book"]
    assert program.command == (sys.executable, "-m", "guest_book")


def test_its_metrics_port_is_free_in_ours(repository):
    programs = read_manifest(ROOT / "seaway.toml").programs
    # Whoever has followed the page has it among ours.
    ours = {program.metrics_port for name, program in programs.items() if name != "guest-book"}
    theirs = read_manifest(repository / "seaway.toml").programs["guest-book"].metrics_port
    assert theirs not in ours
