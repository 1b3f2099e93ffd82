"""Who may come in, how often, and what they may ask for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import grpc
from acme.gateway.v1 import sign_up_pb2 as api
from seaway.rpc import Clients, Refusal, ServicerContext, is_verified

from gateway.rates import Rates
from gateway.watchers import Watchers


def _is_open() -> Refusal | None:
    return None


@dataclass(frozen=True, slots=True)
class Door:
    """What everybody has to pass who signs up or watches. By default it is as strict as may be."""

    watchers: Watchers = field(default_factory=Watchers)
    rates: Rates = field(default_factory=Rates)
    clients: Clients = field(default_factory=Clients)
    no_room: Callable[[], Refusal | None] = _is_open
    """What to say to one more request; None: it is welcome."""
    anybody_may_reveal: bool = False
    """Whether a taken address is told to callers without a certificate: on your own machine."""

    def sign_up(self, request: api.SignUpRequest, context: ServicerContext) -> bool:
        """Count somebody who signs up; return whether this very request came in before.

        Raises Refusal if it is too often, or too much to ask.
        """
        is_known = is_verified(context)
        if request.reveal_taken and not (is_known or self.anybody_may_reveal):
            said = "reveal_taken is for callers with a client certificate"
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "REVEAL_TAKEN_DENIED", said)
        # Who is known signs up others, from one place: a limit for them is in their own hands.
        network = None if is_known else self.clients.network_of(context)
        return self.rates.admit(request.request_id, request.email, network)

    def watch(self, context: ServicerContext) -> AbstractContextManager[None]:
        """Count somebody who watches, for as long as the context lasts. Raises Refusal."""
        return self.watchers.admit(self.clients.network_of(context))
