"""Pieces of code on a page, each of which says where it is from: is that what the code says?"""

import ast
import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
QUOTE = re.compile(r"^`([\w./]+)`, `([\w.]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


def quotes_of(page):
    """Each quote of a page: the file, the name in it, and what the page says that it says."""
    return QUOTE.findall(page)


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
