"""The breaker: a pure state machine on a clock that the test turns."""

from dataclasses import dataclass

import pytest
from seaway.breaker import Breaker


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def test_it_is_closed_and_waits_for_nothing(breaker: Breaker) -> None:
    assert not breaker.is_open
    assert breaker.pause() == 0


def test_a_dependency_that_is_down_opens_it_at_once(breaker: Breaker) -> None:
    breaker.down()
    assert breaker.is_open
    assert breaker.pause() == 1


def test_it_probes_after_1_2_4_5_5_seconds(breaker: Breaker, clock: Clock) -> None:
    pauses = []
    for _ in range(6):
        breaker.down()
        pauses.append(breaker.pause())
        clock.now += breaker.pause()
    assert pauses == [1, 2, 4, 5, 5, 5]


def test_what_was_in_hand_when_it_opened_does_not_lengthen_the_pause(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.down()
    clock.now += 0.5
    breaker.down()
    breaker.failed()
    assert breaker.pause() == 0.5


def test_a_probe_that_finds_nothing_to_try_closes_it(breaker: Breaker, clock: Clock) -> None:
    breaker.down()
    breaker.idle()  # a fetch that was under way when it opened is no probe
    assert breaker.is_open
    clock.now += 1
    breaker.idle()
    assert not breaker.is_open
    breaker.down()
    assert breaker.pause() == 1


def test_the_first_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    breaker.down()
    clock.now += 1
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.pause() == 0


def test_it_begins_again_with_one_second_after_it_was_closed(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(4):
        breaker.down()
        clock.now += breaker.pause()
    breaker.succeeded()
    breaker.down()
    assert breaker.pause() == 1


@pytest.mark.parametrize(
    ("fine", "failures", "opens"),
    [(0, 9, False), (0, 10, True), (5, 5, True), (6, 5, False), (100, 99, False), (10, 10, True)],
)
def test_ten_results_half_of_them_failures_open_it(
    breaker: Breaker, fine: int, failures: int, opens: bool
) -> None:
    for _ in range(fine):
        breaker.succeeded()
    for _ in range(failures):
        breaker.failed()
    assert breaker.is_open is opens


def test_what_is_older_than_thirty_seconds_does_not_count(breaker: Breaker, clock: Clock) -> None:
    for _ in range(9):
        breaker.failed()
    clock.now += 31
    breaker.failed()
    assert not breaker.is_open


def test_a_failed_probe_of_any_kind_keeps_it_open(breaker: Breaker, clock: Clock) -> None:
    breaker.down()
    clock.now += 1
    breaker.failed()
    assert breaker.is_open
    assert breaker.pause() == 2
