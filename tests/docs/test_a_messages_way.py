"""Every piece of code in docs/a-messages-way.md is what the code says now."""

from pathlib import Path
from textwrap import dedent

import pytest
from quotes import occurs, quotes_of, source_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/a-messages-way.md").read_text()
QUOTES = quotes_of(PAGE)


@pytest.mark.parametrize(("path", "name", "quote"), QUOTES, ids=[q[1] for q in QUOTES])
def test_a_quote_is_what_the_code_says(path, name, quote):
    source = source_of(path, name)
    assert occurs(quote, source), f"{path} says now:\n\n{dedent(source)}"


def test_every_piece_of_code_says_where_it_is_from():
    assert len(QUOTES) == PAGE.count("```") / 2


def test_the_way_goes_through_every_room():
    files = list(dict.fromkeys(path for path, _, _ in QUOTES))
    order = ["gateway/service.py", "flow", "jetstream", "consumer.py", "user_creation/service.py"]
    places = [next(i for i, f in enumerate(files) if room in f) for room in order]
    assert places == sorted(places)


def test_a_quote_that_is_not_in_the_code_is_noticed():
    path, name, quote = QUOTES[0]
    assert not occurs(quote.replace("request", "question"), source_of(path, name))
    assert not occurs("\n".join(quote.splitlines()[::2]), source_of(path, name))
