"""How much of everything is measured: the headline, everything, or only whether it works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The sizes of one run."""

    name: str
    stories: tuple[str, ...]
    minutes: float
    """After which the run is cut off; what was measured until then is kept."""
    rounds: int = 5
    warm_up: int = 1
    patience: float = 330.0
    """Seconds after which no other round begins; a figure says of how many it is the median."""
    requests: int = 20_000
    """Waiting for each side of A."""
    clients: tuple[int, ...] = (1, 64)
    seconds: float = 5.0
    """How long each side of B is under load in a round."""
    backlog: int = 180_000
    backlog_rounds: int = 2
    """An hour at 50 a second, in C."""
    consumers: tuple[str, ...] = ("user_creation",)
    watchers: int = 5000
    stall: float = 10.0
    stored: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Messages that a stream has already, in F."""


HEADLINE = Plan("headline", ("A", "B", "C", "E"), minutes=30)
FULL = Plan(
    "full",
    ("A", "overhead", "B", "latency", "stall", "C", "D", "E", "F", "memory"),
    minutes=120,
    patience=600.0,
    clients=(1, 16, 64, 256),
    consumers=("user_creation", "welcome_email", "data_warehouse", "crm"),
)
SMOKE = Plan(
    "smoke",
    ("A", "overhead", "B", "C", "E"),
    minutes=15,
    rounds=1,
    warm_up=0,
    requests=300,
    clients=(8,),
    seconds=1.0,
    backlog=500,
    backlog_rounds=1,
)
