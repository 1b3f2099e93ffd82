"""What a refusal of the broker means, given the message that was there before."""

from datetime import UTC, datetime

import pytest
from seaway.broker import Conflict, Posting, Receipt, Stored

OURS = Posting("THINGS", "things.v1.made.x", b"body", {"ce-id": "1", "ce-time": "now"})


def stored(subject="things.v1.made.x", data=b"body", id="1"):
    return Stored(subject, data, {"ce-id": id, "ce-time": "earlier"}, 42, datetime.now(UTC))


def test_the_same_message_was_stored_before():
    assert OURS.answer(stored()) == Receipt(42, repeated=True)


@pytest.mark.parametrize(
    "other", [{"subject": "things.v1.unmade.x"}, {"data": b"other"}, {"id": "2"}]
)
def test_another_message_stands_in_the_way(other):
    there = stored(**other)
    assert OURS.answer(there) == Conflict(there)
