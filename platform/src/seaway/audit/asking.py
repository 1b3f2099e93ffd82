"""Asking services, over HTTP, what they have handled and which rows they keep."""

import asyncio
import http.client
import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit

from seaway.audit.telling import Question
from seaway.audit.told import Told
from seaway.errors import SeawayError

CONNECT_WITHIN = 10.0
"""Seconds of silence after which a service counts as unreachable."""
NOT_FOUND = 404

type Endpoints = Mapping[str, Sequence[str]]
"""The metrics ports of each service's replicas, as URLs; they share a database, so one will do."""


class Unaskable(SeawayError):
    """A service cannot be asked, so nothing can be said about what it has handled."""

    def __init__(self, what: str, *services: str) -> None:
        super().__init__(what)
        self.services = services
        """All that cannot be asked."""


def endpoints(entries: Sequence[str]) -> Endpoints:
    """Read NAME=URL, one entry for each replica. Raises ValueError that names the wrong one."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, _, url = entry.strip().partition("=")
        if not name or urlsplit(url).scheme != "http":
            raise ValueError(f"{entry!r} is not NAME=http://HOST:PORT")
        found.setdefault(name, []).append(url)
    return found


async def ask_services(endpoints: Endpoints, question: Question) -> list[Told]:
    """Return what each service tells. Raises Unaskable that names all that do not answer."""
    asked = (asyncio.to_thread(_ask_any, name, urls, question) for name, urls in endpoints.items())
    answers = await asyncio.gather(*asked, return_exceptions=True)
    if other := [a for a in answers if isinstance(a, BaseException) and not _is_expected(a)]:
        raise other[0]
    if failed := [a for a in answers if isinstance(a, Unaskable)]:
        names = [name for error in failed for name in error.services]
        raise Unaskable("; ".join(map(str, failed)), *names)
    return [answer for answer in answers if isinstance(answer, Told)]


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, Unaskable)


def _ask_any(service: str, urls: Sequence[str], question: Question) -> Told:
    """Ask one replica after the other until one answers."""
    failures: list[str] = []
    for url in urls:
        try:
            return _ask(service, url, question)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            failures.append(f"{url} {error or type(error).__name__}")
    why = ", ".join(failures) or "it has no URL"
    raise Unaskable(f"{service} cannot be asked: {why}", service)


def _ask(service: str, url: str, question: Question) -> Told:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=CONNECT_WITHIN)
    told = Told(service)
    try:
        connection.request("GET", f"/audit?{urlencode(question.parameters())}")
        with connection.getresponse() as answer:
            if answer.status == NOT_FOUND:
                told.tells = False
                return told
            if answer.status != http.HTTPStatus.OK:
                raise ValueError(f"answers {answer.status}: {answer.read(500).decode()}")
            for line in answer:
                told.add(json.loads(line))
            if not told.is_whole:  # http.client takes a broken connection for the end
                raise ValueError("stopped in the middle of its answer")
    finally:
        connection.close()
    return told
