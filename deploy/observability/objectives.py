"""What we promise those who sign up, and the rules that say how fast the promise is used up.

Two promises, each over 30 days. How much of a budget is burnt is looked at over a long window and
a short one: the long one says that it matters, the short one that it goes on
(the Site Reliability Workbook, chapter 5).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from acme.gateway.v1 import sign_up_pb2
from durations import DAY, HOUR, MINUTE, Clock, as_written

SIGN_UP = sign_up_pb2.DESCRIPTOR.services_by_name["SignUpService"].methods_by_name["SignUp"].name
OURS = "Unavailable|Internal|Unknown|DeadlineExceeded|DataLoss"
"""The codes that are our fault. An address that is no address is not."""
WITHIN = 2.0
"""Seconds; it is a bucket of the histogram."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A promise: so many of all that happens are good."""

    name: str
    target: float
    says: str
    bad: str
    """What share was bad, in PromQL; %s is the window."""

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.target, 6)

    def recorded(self, window: float) -> str:
        """Return the name under which the share of a window is recorded."""
        return f"seaway:sign_up_{self.name}:ratio_rate{as_written(window)}"

    @property
    def left(self) -> str:
        """What is left of the budget of three days, in PromQL. Below 0 it is used up."""
        return f"1 - {self.recorded(3 * DAY)} / {self.budget:g}"


ANSWERED = Objective(
    "errors",
    0.999,
    "99.9 % of all calls to sign up end with an outcome, or with a refusal that is the caller's"
    " fault",
    f'sum(rate(grpc_server_handled_total{{grpc_method="{SIGN_UP}",grpc_code=~"{OURS}"}}[%s]))'
    f' / sum(rate(grpc_server_handled_total{{grpc_method="{SIGN_UP}"}}[%s]))',
)
FAST = Objective(
    "slow",
    0.99,
    f"99 % of all outcomes are told within {WITHIN:g} s of the call",
    f'1 - sum(rate(seaway_sign_up_seconds_bucket{{le="{WITHIN}"}}[%s]))'
    " / sum(rate(seaway_sign_up_seconds_count[%s]))",
)
OBJECTIVES = (ANSWERED, FAST)


@dataclass(frozen=True, slots=True)
class Burn:
    """A speed at which a budget is used up, and the windows in which it is looked for."""

    factor: float
    long: float
    short: float


FAST_BURNS = (Burn(14.4, HOUR, 5 * MINUTE), Burn(6, 6 * HOUR, 30 * MINUTE))
"""At these a month's budget is gone in two days, or five: somebody gets up."""
SLOW_BURNS = (Burn(3, DAY, 2 * HOUR), Burn(1, 3 * DAY, 6 * HOUR))
WINDOWS = sorted({w for burn in (*FAST_BURNS, *SLOW_BURNS) for w in (burn.long, burn.short)})


def recordings(clock: Clock) -> Iterator[dict[str, str]]:
    """Yield the rules that record what share was bad, for every window."""
    for objective in OBJECTIVES:
        for window in WINDOWS:
            expression = objective.bad.replace("%s", clock.lasting(window))
            yield {"record": objective.recorded(window), "expr": expression}


def burning(objective: Objective, burns: tuple[Burn, ...]) -> str:
    """Return what is true while a budget is used up at one of these speeds."""
    return " or ".join(_burning(objective, burn) for burn in burns)


def _burning(objective: Objective, burn: Burn) -> str:
    most = f"{burn.factor * objective.budget:g}"
    long, short = objective.recorded(burn.long), objective.recorded(burn.short)
    return f"({long} > {most} and {short} > {most})"
