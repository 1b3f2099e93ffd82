"""What the pages tell people to type, and where they send them, exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from seaway.cli import application, commands

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def code(page):
    """The lines of a page that are code: indented, fenced, or between backticks."""
    text = page.read_text()
    fenced = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (\S.*)$", prose, re.MULTILINE)
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]
    return [
        line.partition(" #")[0] for line in [*"\n".join(fenced).splitlines(), *indented, *spans]
    ]


def typed(page, *programs):
    """What follows the name of a program wherever a line of code begins with it."""
    for line in code(page):
        program, _, arguments = line.strip().partition(" ")
        if program in programs and arguments:
            yield arguments


def seaway_command(words):
    """The command that these words name; None if there is none of that name."""
    found = typer.main.get_command(application(words))
    for word in words:
        if hasattr(found, "commands"):
            found = found.commands.get(word)
    return found


@every_page
def test_every_make_target_exists(page):
    asked = {words.split()[0] for words in typed(page, "make")}
    assert {target for target in asked if "=" not in target} <= TARGETS


@every_page
def test_every_seaway_command_exists_with_its_options(page):
    for arguments in typed(page, "seaway", "./seaway"):
        words = shlex.split(arguments.replace("…", ""))
        assert words[0] in commands(), arguments
        command = seaway_command([word for word in words if re.fullmatch(r"[a-z][a-z-]+", word)])
        assert command, arguments
        options = {option for parameter in command.params for option in parameter.opts}
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert asked <= options | {"--help"}, arguments


@every_page
def test_every_link_leads_to_a_file(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)\)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_that_code_refers_to_is_on_record_and_in_the_list():
    sources = [
        path for member in ("platform", "services") for path in (ROOT / member).rglob("*.py")
    ]
    named = {n for p in sources for n in re.findall(r"docs/decisions/(\d{4})", p.read_text())}
    records = {path.name for path in (ROOT / "docs/decisions").glob("0*.md")}
    listed = re.findall(r"\((0.*?\.md)\)", (ROOT / "docs/decisions/README.md").read_text())
    assert named <= {name[:4] for name in records}
    assert listed == sorted(records)


def test_pages_with_commands_are_found():
    assert list(typed(ROOT / "README.md", "make"))[:2] == ["dev", "test"]
    assert len(list(typed(ROOT / "README.md", "seaway", "./seaway"))) > 5
