"""When two e-mail addresses are the same, for everybody who has to know.

Not generated: what the contract means by an address is a part of it. It needs the extra
`addresses`.
"""

from functools import lru_cache
from unicodedata import normalize

import idna


def normalised(email: str) -> str:
    """Return the form in which two addresses are equal if they reach the same person.

    The part before the last @ is compared without case, although servers may tell `Ada` from
    `ada`: none that matters does, and a person types both. A suffix (`ada+news`) is kept, since
    what it means is the server's business. The domain is what DNS makes of it, so `MÜNCHEN.de`
    and `xn--mnchen-3ya.de` are one, but `faß.de` and `fass.de` are two. A domain that DNS could
    not hold is compared without case: such an address reaches nobody, and gets an answer too.
    """
    local, at, domain = email.rpartition("@")
    return f"{_caseless(local)}{at}{_domain(domain)}"


@lru_cache(maxsize=4096)
def _domain(domain: str) -> str:
    try:
        return idna.encode(normalize("NFC", domain), uts46=True).decode()
    except idna.IDNAError:
        return _caseless(domain)


def _caseless(text: str) -> str:
    # Decomposed first, as Unicode defines caseless: folding would miss some combining marks.
    return normalize("NFC", normalize("NFD", text).casefold())
