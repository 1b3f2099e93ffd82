"""Each name in the glossary is one that the code has."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

PAGE = Path(__file__).parents[2] / "docs/glossary.md"
ROWS = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| **")]
NAMES = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[-1])]


def test_the_page_has_words():
    assert len(ROWS) > 25
    assert len(NAMES) > 20
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_the_glossary_exists(name):
    try:
        resolve_name(f"seaway.{name}")
    except (ImportError, AttributeError) as error:
        pytest.fail(f"seaway.{name}: {error}")
