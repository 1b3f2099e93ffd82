"""The policy, as a table."""

import pytest
from seaway.errors import BrokerUnavailable, DependencyDown, Raced, Unprocessable
from seaway.outcome import DeadLetter, Retry, RetryPolicy


def exact(seconds):
    return seconds


@pytest.mark.parametrize(
    ("error", "attempt", "outcome"),
    [
        (Unprocessable("NO_SUCH_MAILBOX"), 1, DeadLetter("NO_SUCH_MAILBOX")),
        (Unprocessable("INVALID"), 7, DeadLetter("INVALID")),
        (Raced(), 1, Retry(after=0)),
        (Raced(), 9, Retry(after=0)),
        (BrokerUnavailable(), 1, Retry(after=1)),
        (BrokerUnavailable(), 1000, Retry(after=1)),
        (DependencyDown(), 1, Retry(after=1)),
        (DependencyDown(), 1000, Retry(after=1)),
        (ConnectionRefusedError(), 1000, Retry(after=1)),
        (ValueError(), 1, Retry(after=1)),
        (ValueError(), 2, Retry(after=5)),
        (ValueError(), 3, Retry(after=30)),
        (ValueError(), 4, Retry(after=120)),
        (ValueError(), 5, Retry(after=600)),
        (ValueError(), 6, Retry(after=600)),
        (ValueError(), 9, Retry(after=600)),
        (ValueError(), 10, DeadLetter("FAILED_TOO_OFTEN")),
        (ValueError(), 1000, DeadLetter("FAILED_TOO_OFTEN")),
        (TimeoutError(), 2, Retry(after=5)),
    ],
)
def test_an_error_and_an_attempt_decide_the_outcome(error, attempt, outcome):
    assert RetryPolicy(jitter=exact).decide(error, attempt) == outcome


def test_a_policy_may_have_delays_of_its_own():
    policy = RetryPolicy(delays=(0.1, 0.2), jitter=exact)
    assert policy.decide(ValueError(), 1) == Retry(after=0.1)
    assert policy.decide(ValueError(), 3) == Retry(after=0.2)
    assert policy.decide(DependencyDown(), 3) == Retry(after=0.1)


def test_what_failed_together_does_not_return_together():
    delays = {RetryPolicy().decide(ValueError(), 3).after for _ in range(100)}
    assert len(delays) > 90
    assert 24 <= min(delays) < 27 < 33 < max(delays) <= 36
