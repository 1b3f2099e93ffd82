"""Those who wait, counted, so that they cannot crowd out those who sign up."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from seaway.rpc import exhausted


class Watchers:
    """At most so many at once, and from one client. 0 is no cap."""

    def __init__(self, *, at_once: int = 500, per_client: int = 5) -> None:
        self._at_once = at_once
        self._per_client = per_client
        self._clients: Counter[str] = Counter()

    @contextmanager
    def admit(self, client: str) -> Iterator[None]:
        """Count one more for as long as the context lasts. Raises Refusal if there are enough."""
        if 0 < self._per_client <= self._clients[client]:
            raise exhausted("TOO_MANY_WATCHERS", "you watch as much at once as one client may")
        if 0 < self._at_once <= self._clients.total():
            raise exhausted("TOO_MANY_WATCHERS", "as many watch as can be served here")
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
