"""One connection to the web port: who is at its other end, and for how long it may do nothing."""

import asyncio
import ssl
from typing import Any, override

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from seaway.rpc.limits import Limits

CERTIFICATE = "certificate"
"""Where a request's state has what the other end has shown."""


class WebConnection(H11Protocol):
    """HTTP/1.1 that keeps a certificate that was verified, and cuts off who only takes a place.

    Who sends no whole request for as long as a call may take, or has not read an answer when a
    stream would be over, too, has his connection closed.
    """

    def __init__(self, limits: Limits, **settings: Any) -> None:
        super().__init__(**settings)
        self._look_every = limits.call_seconds
        self._longest = limits.stream_seconds + limits.call_seconds
        self._seen: RequestResponseCycle | None = None
        self._since = 0.0
        self._looking: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if transport.get_extra_info("peercert"):
            whole = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.app_state = {**self.app_state, CERTIFICATE: ssl.DER_cert_to_PEM_cert(whole)}
        self._look_again()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def _look_again(self) -> None:
        self._looking = self.loop.call_later(self._look_every, self._look)

    def _is_over(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _look(self) -> None:
        """Close it, if since the last look no request has begun, and none was being answered."""
        if self.cycle is not self._seen:
            self._seen, self._since = self.cycle, self.loop.time()
        elif self._is_over() and not self.transport.is_closing():
            self.transport.close()  # which waits until all is read that was written
        elif self.loop.time() - self._since > self._longest:
            return self.transport.abort()
        return self._look_again()
