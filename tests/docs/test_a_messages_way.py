"""Every piece of code in docs/a-messages-way.md is what the code says now."""

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/a-messages-way.md").read_text()
QUOTE = re.compile(r"^`([\w./]+)`, `([\w.]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUOTES = QUOTE.findall(PAGE)


def source_of(path, name):
    """The lines of a class or function, decorators included; of a .proto, a message's."""
    text = (ROOT / path).read_text()
    if path.endswith(".proto"):
        return re.search(rf"^message {name} \{{.*?^\}}", text, re.MULTILINE | re.DOTALL).group()
    node = ast.parse(text)
    for part in name.split("."):
        named = [n for n in ast.walk(node) if getattr(n, "name", "") == part]
        assert named, f"{path} has no {name}"
        node = named[0]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def occurs(quote, source):
    """Whether the lines of a quote stand together in a source, at whatever depth."""
    lines, wanted = source.splitlines(), dedent(quote).strip("\n")
    length = len(wanted.splitlines())
    windows = (lines[i : i + length] for i in range(len(lines) - length + 1))
    return any(dedent("\n".join(window)) == wanted for window in windows)


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
