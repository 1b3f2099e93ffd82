"""The stream is full: the gateway says so at once, and what was accepted has its outcome.

Requests may take four fifths of it. The rest is for outcomes, or it could never drain.
"""

from itertools import pairwise

from backlogs import drained, put
from runner import Run
from seaway.jetstream import JetStream
from sign_ups import a_request, errors_of
from waiting import until

LIMIT = 2 << 20
"""Bytes that the stream may have here, instead of its 4 GiB."""
BEFORE = 1200
"""Sign-ups that take most of it beforehand, at about 1.2 KB each."""
PER_SECOND = 100.0
TOLD_WITHIN = 1.0


def refusals(history):
    """Seconds that each refused call took."""
    return [
        end - begin
        for one in history
        for (begin, what), (end, then) in pairwise(one.history)
        if (what, then) == ("attempted", "UNAVAILABLE")
    ]


async def test_a_full_stream_refuses_at_once_and_drops_nothing(tmp_path, store, size, goal):
    least = size(smoke=200, full=5000)
    async with Run(tmp_path, store) as run, JetStream(run.system.server.url, "test") as broker:
        await broker.connected()
        config = (await broker.streams())["USERS"].config
        await broker.put_stream({**config, "max_bytes": LIMIT})
        await put(broker, [a_request() for _ in range(BEFORE)])
        await drained(broker)
        async with run.load(PER_SECOND):
            await until(lambda: len(refusals(run.history)) >= least, within=600)
            # What was accepted is done with while it is full, not when there is room again.
            await until(lambda: not any(one.in_hand for one in run.history))
            run.fault("full")
            filled = (await broker.streams())["USERS"].bytes / LIMIT
            told = refusals(run.history)
            await broker.put_stream(config)
        accepted = await run.check()
    slowest = max(told)
    print(f"\n  {filled:.0%} full; {len(told)} refusals, the slowest in {slowest:.2f} s")
    print(f"  {run.summary()}")
    target, met = "< 1 s until UNAVAILABLE", slowest < TOLD_WITHIN
    goal("F20", round(slowest, 2), target, hits=len(told), least=least, met=met)
    goal("F20-lost", 0, f"0 of {accepted} accepted lost", hits=accepted, least=50)
    assert 0.8 <= filled <= 1.0
    assert set(errors_of(run.history)) == {"UNAVAILABLE"}
