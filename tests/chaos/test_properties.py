"""The pure core against a broker and a store in which anything can go wrong, at any await.

No process, no socket, no real time: hypothesis presses the buttons of tests/support/hostile.py.
What would be wrong is put in as well, and has to be found.
"""

import re
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from core_machine import Core
from flow_machine import Watching
from hostile import Forgetful
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from seaway.consumer import Consumer
from seaway.envelope import Envelope
from seaway.outcome import Ack
from seaway.watching import Watch

pytestmark = pytest.mark.usefixtures("quiet")


@contextmanager
def found(what):
    """Pass if the machine fails with these words, alone or as what Hypothesis calls flaky.

    What is wrong on purpose need not fail the same way when its example is tried again.
    """
    seen = []
    try:
        yield
    except* AssertionError as errors:
        seen = [str(error) for error in errors.exceptions]
    assert any(re.search(what, words) for words in seen), f"{what!r} was not found, only {seen}"


def run(machine, examples, steps, first, *, phases=tuple(Phase)):
    """Have so many machines take up to so many steps each; return how many there were."""
    begun = 0

    class Counted(machine):
        def __init__(self):
            nonlocal begun
            begun += 1
            super().__init__()

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        report_multiple_bugs=False,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(seed(first)(Counted), settings=chosen)
    return begun


def test_the_core_survives_whatever_broker_store_and_workers_do(size, dice, goal):
    examples = size(smoke=150, full=1000)
    begun = run(Core, examples, size(smoke=40, full=100), dice.getrandbits(32))
    goal("R2", 0, "0 (properties of the core)", hits=begun, least=examples)


class AcksFirst(Consumer):
    """Tells the broker that it is done before it has begun."""

    async def process(self, deliveries):
        for delivery in deliveries:
            await delivery.ack()
        await super().process(deliveries)


class SettlesFailures(Consumer):
    """Lets go of what failed, as a consumer does that acks on exceptions, too."""

    async def decided(self, error, deliveries):
        await super().decided(error, deliveries)
        return [Ack() for _ in deliveries]


class WithoutInbox(Core):
    store = Forgetful


class WithAcksFirst(Core):
    consumer = AcksFirst


class WithSettledFailures(Core):
    consumer = SettlesFailures


@pytest.mark.parametrize(
    ("machine", "what"),
    [
        (WithoutInbox, "a second effect|not one effect"),
        (WithAcksFirst, "no outcome|letters"),
        (WithSettledFailures, "no outcome|letters"),
    ],
)
def test_what_is_wrong_on_purpose_is_found(machine, what):
    with found(what):
        run(machine, 200, 40, 1, phases=(Phase.generate,))


def test_a_reply_whose_id_is_drawn_is_found(monkeypatch):
    derived = Envelope.reply

    def drawn(self, body, durable):
        return replace(derived(self, body, durable), id=str(uuid4()))

    monkeypatch.setattr(Envelope, "reply", drawn)
    with found("set aside without reason"):
        run(Core, 200, 40, 1, phases=(Phase.generate,))


# Those who watch


def test_every_watcher_is_told_the_whole_story_in_order_once(size, dice, goal):
    examples = size(smoke=100, full=1000)
    begun = run(Watching, examples, size(smoke=40, full=100), dice.getrandbits(32))
    goal("R12", 100, "100 % (properties of the flow)", hits=begun, least=examples)


def test_who_relies_on_what_is_told_live_is_found(monkeypatch):
    monkeypatch.setattr("seaway.watching.READ_AGAIN_AFTER", (3600.0,))
    for pause in ("READ_FIRST_AFTER", "READ_AGAIN_EVERY", "READ_MISSING_AFTER"):
        monkeypatch.setattr(f"seaway.watching.{pause}", 3600.0)
    with found("another story"):
        run(Watching, 200, 40, 1, phases=(Phase.generate,))


def test_who_tells_what_comes_first_is_found(monkeypatch):
    def hasty(self):
        for stage, fact in sorted(self._known.items()):
            if stage >= self._stage:
                self._stage, self.reached = stage + 1, fact
                return fact if stage > self._after else None
        return None

    monkeypatch.setattr(Watch, "_next", hasty)
    with found("another story"):
        run(Watching, 200, 40, 1, phases=(Phase.generate,))
