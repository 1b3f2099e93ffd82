"""Exactly one row for each message, in whatever order, however often, by however many it comes."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from data_warehouse.deciding import Tombstones, doubts, dropped, missing
from data_warehouse.entries import Entry
from hypothesis import given, settings
from hypothesis import strategies as st
from seaway.errors import Unprocessable

BORN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = BORN + timedelta(days=1)
FATES = ["commits", "dies", "another is first"]


def entry(number, *, sequence=None, said=LATER, after=0.0, sha="a", **fields):
    stored = said + timedelta(seconds=after)
    id = str(UUID(int=number))
    return Entry(id, sequence or number, "Test", said, stored, f"{sha}{number}", fields)


class Table:
    """What the real one does: a snapshot, a watermark, one commit at a time."""

    def __init__(self):
        self.rows = []
        self.watermark = 0
        self.version = 0

    def found(self, doubtful):
        places = [e.sequence for e in doubtful.by_place]
        near = [r for r in self.rows if places and min(places) <= r.sequence]
        wanted = {e.event_id for e in doubtful.by_place}
        here = {r.event_id: r.sha256 for r in near if r.event_id in wanted}
        ids = {e.event_id for e in doubtful.by_id}
        return here | {r.event_id: r.sha256 for r in self.rows if r.event_id in ids}

    def decide(self, batch):
        new = missing(batch, self.found(doubts(batch, self.watermark, BORN)), set())
        return self.version, new

    def commit(self, version, new):
        if version != self.version:
            return False
        self.rows += new
        self.watermark = max([self.watermark, *(e.sequence for e in new)])
        self.version += bool(new)
        return True


@st.composite
def histories(draw):
    """A stream, and batches of it in any order, each with its fate."""
    count = draw(st.integers(1, 25))
    gaps = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    stream, sequence = [], 0
    for number, gap in enumerate(gaps, start=1):
        sequence += gap
        said = draw(st.sampled_from([LATER, BORN - timedelta(days=3)]))
        stream.append(entry(number, sequence=sequence, said=said))
    numbers = st.integers(0, count - 1)
    batch = st.lists(numbers, min_size=1, max_size=8)
    redriven = st.sets(numbers, max_size=3)
    steps = st.lists(st.tuples(batch, st.sampled_from(FATES), redriven), max_size=20)
    return stream, draw(steps)


@settings(max_examples=500, deadline=None)
@given(histories())
def test_every_message_has_one_row_after_any_history(history):
    stream, steps = history
    table, last = Table(), stream[-1].sequence
    for numbers, fate, redriven in steps:
        batch = [stream[number] for number in numbers]
        for number in redriven:  # the same message, stored again in another place much later
            last += 1
            batch.append(again(stream[number], last))
        decided = table.decide(batch)
        if fate == "another is first":
            assert table.commit(*table.decide(batch[::2]))
        if fate != "dies" and not table.commit(*decided):
            assert table.commit(*table.decide(batch))
    for each in stream:  # whatever was not acked is delivered in the end, acked or not
        assert table.commit(*table.decide([each]))
    assert sorted(row.event_id for row in table.rows) == [e.event_id for e in stream]


def again(original, sequence):
    stored = original.occurred_at + timedelta(minutes=5)
    return Entry(
        original.event_id,
        sequence,
        original.type,
        original.occurred_at,
        stored,
        original.sha256,
        original.fields,
    )


def test_what_is_above_the_watermark_is_not_looked_for():
    batch = [entry(number) for number in range(90, 111)]
    doubtful = doubts(batch, 100, BORN)
    assert [e.sequence for e in doubtful.by_place] == list(range(90, 101))
    assert doubtful.by_id == []


@pytest.mark.parametrize(
    "suspect",
    [
        entry(200, said=BORN - timedelta(days=1)),  # the stream was restored
        entry(200, said=LATER, after=60),  # it was redriven
    ],
)
def test_what_may_have_a_row_under_another_place_is_looked_for_by_its_id(suspect):
    doubtful = doubts([suspect], 100, BORN)
    assert (doubtful.by_place, doubtful.by_id) == ([], [suspect])


def test_nobody_forgotten_gets_a_row():
    asked = entry(1, request_id="request-1")
    said = entry(2, request_id="request-2", user_id="user-2")
    other = entry(3, request_id="request-3", user_id="")
    assert missing([asked, said, other], {}, {"request-1", "user-2"}) == [other]


def test_of_somebody_forgotten_each_message_has_one_tombstone():
    asked = entry(1, request_id="request-1")
    again = entry(1, request_id="request-1")
    said = entry(2, request_id="request-2", user_id="user-2")
    other = entry(3, request_id="request-3", user_id="")
    batch, owners = [asked, said, again, other], {"request-1", "user-2"}
    assert dropped(batch, Tombstones(owners, set())) == [again, said]
    assert dropped(batch, Tombstones(owners, {asked.event_id})) == [said]
    stone = said.tombstone(LATER)
    assert stone["sequence"] == 2
    assert not {"sha256", "request_id", "user_id"} & stone.keys()


def test_an_id_with_two_bodies_is_refused():
    with pytest.raises(Unprocessable, match="ID_REUSED"):
        missing([entry(1)], {entry(1).event_id: "another"}, set())
