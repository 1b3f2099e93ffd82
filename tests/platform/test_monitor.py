"""What the monitor works out by itself: how fast a durable gets on, and what to read again."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from seaway.audit import Difference, Kind, Report
from seaway.errors import SettingsError
from seaway.manifest import NAME, read_manifest
from seaway.monitor import Backlog, Rounds, Sight
from seaway.monitor.metrics import show_report, show_sight
from seaway.monitor.pace import Pace
from seaway.monitor.settings import MonitorSettings
from seaway.topology import Durable, FoundStream

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def seen(second, *, pending=0, in_hand=0, deliveries=0, last=100, pulls=0, created=AT):
    """A durable, so many seconds after the beginning."""
    at = AT + timedelta(seconds=second)
    return Backlog(
        Durable({}, pending, in_hand, 0, 0, created, deliveries, 0, pulls, at), last=last
    )


def pace_of(*backlogs, over=60.0):
    pace = Pace(over)
    for backlog in backlogs:
        pace.take(backlog)
    return pace


@pytest.mark.parametrize(
    ("backlogs", "drain"),
    [
        ([seen(0)], 0.0),
        # Ten of a hundred in five seconds: ninety are left.
        ([seen(0, pending=100), seen(5, pending=90, deliveries=10)], 45.0),
        # … while as many came.
        ([seen(0, pending=100), seen(5, pending=100, deliveries=10, last=110)], 50.0),
        # What is in hand is not settled.
        ([seen(0, pending=100), seen(5, pending=90, in_hand=10, deliveries=10)], math.inf),
        ([seen(0, pending=100), seen(5, pending=100)], math.inf),
        ([seen(0, pending=100), seen(5, pending=140, last=140)], math.inf),
        # The same ten delivered again and again, and none settled.
        ([seen(0, pending=90, in_hand=10), seen(5, pending=90, in_hand=10, deliveries=50)],
         math.inf),
        # Only what was seen lately counts: fast at first, then ten in a minute.
        ([seen(0, pending=900), seen(60, pending=100, deliveries=800),
          seen(120, pending=90, deliveries=810)], 540.0),
    ],
)  # fmt: skip
def test_how_long_it_will_take_is_told_by_the_rate_of_the_last_minute(backlogs, drain):
    assert pace_of(*backlogs).drain == pytest.approx(drain)


def test_after_one_look_no_rate_is_known():
    assert math.isnan(pace_of(seen(0, pending=1)).drain)


@pytest.mark.parametrize(
    "anew",
    [
        seen(10, pending=500),  # wound back: it has more than came
        seen(10, pending=95, created=AT + timedelta(seconds=9)),
    ],
)
def test_a_durable_that_begins_anew_is_judged_anew(anew):
    earlier = [seen(0, pending=100), seen(5, pending=95, deliveries=5)]
    assert math.isnan(pace_of(*earlier, anew).drain)


def test_somebody_pulls_who_waits_or_has_fetched_lately():
    idle, waits, fetched = seen(0), seen(30, pulls=1), seen(90, deliveries=3)
    assert not pace_of(idle).is_pulled
    assert pace_of(idle, waits).is_pulled
    assert pace_of(idle, waits, seen(90)).is_pulled
    assert not pace_of(idle, waits, seen(90), seen(151)).is_pulled
    assert pace_of(idle, fetched).is_pulled
    assert not pace_of(idle, fetched, seen(150, deliveries=3)).is_pulled


def test_an_audit_reads_what_is_recent():
    rounds = Rounds(every=60, window=600)
    assert rounds.since(AT) == AT - timedelta(seconds=600)
    rounds.came(AT, AT, None, clean=True)
    assert rounds.since(AT + timedelta(seconds=700)) == AT - timedelta(seconds=60)
    assert rounds.since(AT) == AT - timedelta(seconds=600)


def test_what_was_not_settled_is_read_again_however_old_it_is():
    rounds, an_hour_ago = Rounds(every=60, window=600), AT - timedelta(hours=1)
    rounds.came(AT - timedelta(seconds=600), AT, an_hour_ago, clean=True)
    assert rounds.since(AT + timedelta(seconds=60)) == an_hour_ago


def test_what_does_not_add_up_is_read_until_it_does():
    rounds = Rounds(every=60, window=600)
    found = rounds.since(AT)
    rounds.came(found, AT, None, clean=False)
    tomorrow = AT + timedelta(days=1)
    assert rounds.since(tomorrow) == found
    rounds.came(found, tomorrow, None, clean=True)
    assert rounds.since(tomorrow) == tomorrow - timedelta(seconds=600)


def second(number):
    return AT + timedelta(seconds=number)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 5_000)), max_size=20),
    st.lists(st.integers(0, 15_000), min_size=1, max_size=20, unique=True).map(sorted),
    st.integers(1, 600),
)
def test_each_message_is_read_after_it_was_settled(messages, audits, window):
    rounds, read = Rounds(every=60, window=window), set()
    messages = {(stored, stored + took) for stored, took in messages}
    for now in audits:
        since = rounds.since(second(now))
        read |= {(s, e) for s, e in messages if e <= now and second(s) >= since}
        waiting = [second(s) for s, e in messages if s <= now < e]
        rounds.came(since, second(now), min(waiting, default=None), clean=True)
    # What was settled before the first one nobody watched.
    watched = {(s, e) for s, e in messages if audits[0] < e <= audits[-1]}
    assert watched - read == set()


@pytest.mark.parametrize(("took", "pause"), [(0.1, 60), (6, 60), (20, 180)])
def test_audits_take_a_tenth_of_the_time_at_most(took, pause):
    assert Rounds(every=60, window=600).pause(took) == pytest.approx(pause)


def exported(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def test_what_is_there_no_more_is_exported_no_more():
    stream = FoundStream({"max_bytes": -1}, 10, AT, messages=3)
    show_sight(
        Sight(AT, {"USERS": stream}, {"a": seen(0), "b": seen(0)}, {"gone": 2}),
        {"a": pace_of(seen(0)), "b": pace_of(seen(0))},
    )
    letters = [
        exported("seaway_dead_letter_messages", durable=name) for name in ("a", "b", "gone")
    ]
    assert letters == [0, 0, 2]
    assert exported("seaway_stream_max_bytes", stream="USERS") == math.inf
    show_sight(Sight(AT, {"USERS": stream}, {"a": seen(0)}), {"a": pace_of(seen(0))})
    assert exported("seaway_lag_seconds", durable="b") is None
    assert exported("seaway_dead_letter_messages", durable="gone") is None


def test_every_kind_of_difference_is_exported_at_zero():
    found = Difference(Kind.NO_EVENT, "USERS", "crm", "key", 0, "…")
    show_report(Report((found, found), pending={"a": 1, "": 1}), AT, 0.5)
    name = "seaway_unaccounted_messages"
    assert [exported(name, durable="a", kind=str(kind)) for kind in Kind] == [0.0] * len(Kind)
    assert exported(name, durable="crm", kind="row without event") == 2
    assert exported(name, durable="", kind="lost delivery") is None
    show_report(Report(pending={"a": 1}), AT, 0.5)
    assert exported(name, durable="crm", kind="row without event") is None


def test_whom_to_ask_is_told_by_a_setting(monkeypatch):
    monkeypatch.setenv("SEAWAY_AUDIT_SERVICES", "a=http://1:90, b=http://2:90,a=http://3:90")
    assert MonitorSettings.from_environment().endpoints() == {
        "a": ["http://1:90", "http://3:90"],
        "b": ["http://2:90"],
    }


def test_whom_to_ask_is_told_by_the_manifest_otherwise(monkeypatch, tmp_path):
    (tmp_path / NAME).write_text(
        '[services.a]\ncommand = ["a"]\nmetrics_port = 1\n'
        '[services.b]\ncommand = ["b"]\nmetrics_port = 2\naudited = false\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEAWAY_PORT_OFFSET", "100")
    assert MonitorSettings.from_environment().endpoints() == {"a": ["http://127.0.0.1:101"]}


def test_who_is_told_nothing_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"SEAWAY_AUDIT_SERVICES is empty.*no seaway\.toml"):
        MonitorSettings.from_environment().endpoints()
    monkeypatch.setenv("SEAWAY_AUDIT_SERVICES", "crm")
    with pytest.raises(SettingsError, match="SEAWAY_AUDIT_SERVICES: 'crm' is not NAME=http"):
        MonitorSettings.from_environment().endpoints()


def test_whether_a_program_is_audited_is_true_or_false(tmp_path):
    (tmp_path / NAME).write_text(
        '[services.a]\ncommand = ["a"]\nmetrics_port = 1\naudited = "no"\n'
    )
    with pytest.raises(SettingsError, match=r"\[services\.a\] audited is neither true nor false"):
        read_manifest(tmp_path / NAME)
