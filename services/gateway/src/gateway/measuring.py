"""How long people wait for the outcome of a sign-up."""

from dataclasses import dataclass, field
from time import perf_counter

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected
from google.protobuf.message import Message
from prometheus_client import Histogram
from seaway.telemetry import LONG, SECONDS, exemplar

SIGN_UP = Histogram(
    "seaway_sign_up_seconds",
    "From the call to its outcome told; `outcome` confirmed or rejected.",
    ("outcome",),
    buckets=(*SECONDS, *LONG),
)
OUTCOMES: dict[type[Message], str] = {
    CreateUserConfirmed: "confirmed",
    CreateUserRejected: "rejected",
}
for _outcome in OUTCOMES.values():
    SIGN_UP.labels(_outcome)


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Runs from the moment at which it is made."""

    began: float = field(default_factory=perf_counter)

    def see(self, told: Message) -> None:
        """Measure, if this is an outcome."""
        outcome = OUTCOMES.get(type(told))
        if outcome is not None:
            SIGN_UP.labels(outcome).observe(perf_counter() - self.began, exemplar())
