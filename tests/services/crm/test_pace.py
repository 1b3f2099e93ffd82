"""Never more calls than the limit in any ten seconds, and hardly fewer."""

import asyncio

import pytest
from crm.pace import WINDOW, Pace
from hypothesis import given, settings
from hypothesis import strategies as st
from seaway.errors import DependencyDown


class Clock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def a_pace(limit):
    clock = Clock()
    return Pace(limit, clock, clock.sleep), clock


async def calls_made(limit, rests):
    pace, clock = a_pace(limit)
    made = []
    for rest in rests:
        await clock.sleep(rest)
        await pace.turn(patience=60.0)
        made.append(clock.now)
    return made


def most_in_a_window(made):
    return max(sum(begin <= at < begin + WINDOW for at in made) for begin in made)


@given(
    limit=st.integers(2, 200),
    rests=st.lists(
        st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.5, 5.0, 20.0]), min_size=1, max_size=400
    ),
)
@settings(max_examples=200, deadline=None)
def test_no_ten_seconds_have_more_calls_than_the_limit(limit, rests):
    made = asyncio.run(calls_made(limit, rests))
    assert most_in_a_window(made) <= limit


@pytest.mark.parametrize("limit", [100, 190])
async def test_nine_tenths_of_the_limit_are_used(limit):
    made = await calls_made(limit, [0.0] * 10 * limit)
    per_window = len(made) / made[-1] * WINDOW
    assert 0.9 * limit <= per_window <= limit


async def test_a_pause_is_kept_by_whoever_waits_already():
    pace, clock = a_pace(10)
    await pace.turn(0.0)

    async def pause_while_asleep(seconds):
        clock.now += seconds
        if clock.now < 5:
            pace.pause(7.0)

    pace.sleep = pause_while_asleep
    await pace.turn(60.0)
    assert clock.now == pytest.approx(1.11 + 7, abs=0.1)


async def test_whoever_would_have_to_wait_too_long_is_told_at_once():
    pace, clock = a_pace(100)
    pace.pause(9.0)
    with pytest.raises(DependencyDown):
        await pace.turn(8.0)
    assert clock.now == 0
    await pace.turn(9.0)
    assert clock.now == 9.0
