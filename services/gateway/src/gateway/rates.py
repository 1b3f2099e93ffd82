"""How often somebody may sign up: tokens for each network, and for each address."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes

from acme.users.v1.address import normalised
from seaway.rpc import exhausted

REMEMBERED = 50_000
"""Networks and addresses together, and requests: some 20 MB at most."""
MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and as many again in so many seconds, one by one."""

    tokens: int
    seconds: float

    @property
    def every(self) -> float:
        """In how many seconds there is one token more."""
        return self.seconds / self.tokens


class Buckets:
    """A bucket of tokens for each key, and for as many keys as are remembered."""

    def __init__(self, rates: Sequence[Rate], most: int = REMEMBERED) -> None:
        self._rates = rates
        self._most = most
        # When a bucket will be full again, for each rate: all that there is to know of it.
        self._full_at: OrderedDict[bytes, list[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: bytes, now: float) -> float:
        """Return in how many seconds there is a token; 0: now."""
        full_at = self._full_at.get(key) or [now for _ in self._rates]
        waits = (
            max(at, now) + rate.every - rate.seconds - now
            for at, rate in zip(full_at, self._rates, strict=True)
        )
        return max(0.0, *waits)

    def take(self, key: bytes, now: float) -> None:
        """Take a token. Whoever has not taken one for longest is forgotten, if there are many."""
        full_at = self._full_at.get(key) or [now for _ in self._rates]
        self._full_at[key] = [
            max(at, now) + rate.every for at, rate in zip(full_at, self._rates, strict=True)
        ]
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)


class Rates:
    """How often one network may sign somebody up, and one address be signed up; 0 is no limit.

    Without a limit for a minute there is none for an hour either. Nothing of an address is kept
    but a hash, of which only this process knows the key.
    """

    def __init__(
        self,
        *,
        per_minute: int = 5,
        per_hour: int = 20,
        clock: Callable[[], float] = time.monotonic,
        most: int = REMEMBERED,
    ) -> None:
        rates = [Rate(per_minute, MINUTE)] * bool(per_minute)
        rates += [Rate(per_hour, HOUR)] * bool(per_minute and per_hour)
        self._buckets = Buckets(rates, most)
        self._is_limited = bool(rates)
        self._clock = clock
        self._most = most
        self._secret = token_bytes(16)
        self._admitted: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, request_id: str, email: str, network: str | None) -> bool:
        """Count a sign-up; return whether it was counted before: to ask for one again is free.

        Raises Refusal if it is one too many.

        It does not say too many of what, since an address is nobody else's business. Without a
        network only the address counts.
        """
        if not self._is_limited:
            return False
        address = self._key(f"address {normalised(email)}")
        request = self._key(f"{request_id} {address.hex()}")
        if request in self._admitted:
            return True
        keys = [address] if network is None else [address, self._key(f"network {network}")]
        now = self._clock()
        if wait := max(self._buckets.wait(key, now) for key in keys):
            raise exhausted("TOO_MANY_SIGN_UPS", "too many sign-ups: try again later", wait)
        for key in keys:
            self._buckets.take(key, now)
        self._admitted[request] = None
        if len(self._admitted) > self._most:
            self._admitted.popitem(last=False)
        return False

    def _key(self, text: str) -> bytes:
        return blake2b(text.encode(), key=self._secret, digest_size=16).digest()
