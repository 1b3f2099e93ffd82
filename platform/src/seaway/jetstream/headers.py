"""Headers to and from the client, without paying for what need not be done to them.

The client looks at each header by itself, trims it and looks for line ends letter by letter: 25
of the 130 µs that user_creation needs for a message. Ours are looked at all at once, and only if
there is something to do to one of them is it left to the client. What arrives is the same.
"""

from functools import lru_cache
from typing import override

from seaway.broker import HEADER_NAME, Headers


class AsIs(str):
    """A header's value with the further headers behind it, which needs nothing done to it.

    A client that does something in another way than this one does it to these headers, too.
    """

    __slots__ = ()

    @override
    def strip(self, chars: str | None = None, /) -> "AsIs":
        """Return it as it is."""
        return self

    @override
    def translate(self, table: object, /) -> "AsIs":
        """Return it as it is."""
        return self


def written(headers: Headers) -> dict[str, str]:
    """Return headers for the client: those to which nothing has to be done as if they were one."""
    if not headers or not _are_plain(headers):
        return dict(headers)
    name, _, rest = "\r\n".join([f"{n}: {v}" for n, v in headers.items()]).partition(": ")
    return {name: AsIs(rest)}


def read(raw: bytes) -> dict[str, str] | None:
    """Return what was written like that; None if it is for the client to read."""
    try:
        headers = dict([line.split(": ", 1) for line in raw.decode().split("\r\n") if line])
    except ValueError:
        return None
    return headers if _are_plain(headers) else None


def _are_plain(headers: Headers) -> bool:
    """Whether no name is wrong, no value has a line's end in it, and none has space around it.

    If it says no it may be wrong.
    """
    values = "|".join(("", *headers.values(), ""))
    spaced = "| " in values or " |" in values
    return values.isprintable() and not spaced and _are_names(tuple(headers))


@lru_cache(maxsize=1000)
def _are_names(names: tuple[str, ...]) -> bool:
    return all(map(HEADER_NAME.fullmatch, names))
