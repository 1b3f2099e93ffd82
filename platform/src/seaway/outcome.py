"""What becomes of a delivery: decided here, by pure functions, and carried out elsewhere."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seaway.errors import (
    BrokerUnavailable,
    DependencyDown,
    NotNow,
    Raced,
    SeawayError,
    StreamFull,
    Unprocessable,
)


@dataclass(frozen=True, slots=True)
class Ack:
    """Handled, now or earlier."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not handled. Deliver it again after so many seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Set it aside for a person. `reason` is a fixed code without personal data."""

    reason: str


type Outcome = Ack | Retry | DeadLetter


def spread(seconds: float) -> float:
    """Return it, give or take a fifth, so that what failed together does not return together."""
    return seconds * random.uniform(0.8, 1.2)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again, and when to give up. The delays are seconds; the last one repeats."""

    delays: tuple[float, ...] = (1, 5, 30, 120, 600)
    failures: int = 10
    """The failure after which a message is a dead letter."""
    jitter: Callable[[float], float] = spread

    def decide(self, error: Exception, attempt: int) -> Outcome:
        """Return what to do after `error`; `attempt` counts the failures, this one included.

        A dependency that is away is not the message's fault: it is retried for ever. An error
        of a kind that nobody has classified may pass.
        """
        match error:
            case Unprocessable():
                return DeadLetter(error.reason)
            case Raced():
                return Retry(after=0)
            case _ if not counts(error):
                return Retry(after=self.delays[0])
            case _ if attempt >= self.failures:
                return DeadLetter("FAILED_TOO_OFTEN")
            case _:
                return Retry(after=self.jitter(self.delay(attempt)))

    def delay(self, times: int) -> float:
        """Return how many seconds to wait after so many failures; 0 if there was none."""
        return self.delays[min(times, len(self.delays)) - 1] if times > 0 else 0.0


def is_away(error: Exception) -> bool:
    """Whether it says that something the handler needs is away, by its type."""
    return isinstance(error, DependencyDown | ConnectionError | StreamFull)


def counts(error: Exception) -> bool:
    """Whether it is an attempt of the message's own, and so brings it nearer to giving up."""
    return not (is_away(error) or isinstance(error, BrokerUnavailable | Raced))


def shown(error: Exception) -> Mapping[str, object]:
    """Return what a log line says of it: the stack trace only if it was not to be expected.

    The text of our own errors holds no personal data; of others' nobody knows.
    """
    expected = (Unprocessable, NotNow, BrokerUnavailable, Raced, TimeoutError)
    says_it_all = is_away(error) or isinstance(error, expected)
    why = str(error) if says_it_all and isinstance(error, SeawayError) else ""
    name = type(error).__name__
    return {"error": name, "why": why, "exc_info": None if says_it_all else error}
