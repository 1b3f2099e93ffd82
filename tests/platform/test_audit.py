"""Whatever does not add up is named, and nothing else is."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected, CreateUserRequested
from hypothesis import given, settings
from hypothesis import strategies as st
from seaway.audit import Kind, Scene, Told, fingerprint, reconcile
from seaway.audit.told import DurableTold, Recorded, RowTold
from seaway.broker import Stored
from seaway.contract import address_of
from seaway.dead_letters import Discarded, Letter
from seaway.envelope import SEAWAY, Envelope
from seaway.service import redrive_subject
from seaway.topology import Durable, DurableSpec

TYPES = {
    t.DESCRIPTOR.full_name: t
    for t in (CreateUserRequested, CreateUserConfirmed, CreateUserRejected)
}
CONFIRMED = CreateUserConfirmed.DESCRIPTOR.full_name
STREAM = address_of(CreateUserRequested).stream
OWNER, LISTENER = "user-creation-create-user-requested", "crm-create-user-confirmed"
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def key(number):
    return str(UUID(int=number + 1))


def durable_of(message, service, **found):
    spec = DurableSpec.elsewhere(service, message.DESCRIPTOR.full_name)
    fields = {"pending": 0, "ack_pending": 0, "ack_floor": 0, "delivered": 0, **found}
    return Durable(config=spec.config(), **fields)


def user_of(request_id, **changed):
    fields = {"email": "ada@example.org", "display_name": "Ada", "locale": "en", **changed}
    return CreateUserConfirmed(request_id=request_id, user_id=f"user-of-{request_id}", **fields)


@dataclass
class World:
    """A stream with two services: one that decides, one that listens; both keep rows."""

    messages: list[Stored] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    thrown_away: list[Discarded] = field(default_factory=list)
    sequence: int = 0
    floor: int = 0
    kept_from: int = 1
    expected: set[tuple[Kind, str]] = field(default_factory=set)

    def __post_init__(self):
        self.decides, self.listens = Told("user-creation"), Told("crm")
        self.decides.durables[OWNER] = DurableTold("beginning", is_kept=True)
        self.listens.durables[LISTENER] = DurableTold("beginning", is_kept=True)
        for told in (self.decides, self.listens):
            told.rows[CONFIRMED] = {}

    def say(self, body, cause="", *, subject="", id="", headers=None, data=b""):
        """Store a message; return it."""
        envelope = Envelope.opening(body, "test")
        if cause:
            envelope = Envelope.opening(CreateUserRequested(request_id=cause), "test").reply(
                body, OWNER
            )
        posting = envelope.posting()
        self.sequence += 1
        at = AT + timedelta(seconds=self.sequence)
        said = {**posting.headers, "ce-time": at.isoformat()} | ({"ce-id": id} if id else {})
        stored = Stored(
            subject or posting.subject,
            data or posting.data,
            said if headers is None else headers,
            self.sequence,
            at,
        )
        self.messages.append(stored)
        return stored

    def again(self, stored, durable=OWNER):
        """Redrive a message."""
        self.sequence += 1
        subject = redrive_subject(STREAM, durable, str(self.sequence))
        redriven = Stored(subject, stored.data, stored.headers, self.sequence, stored.at)
        self.messages.append(redriven)
        return redriven

    def record(self, stored, durable=OWNER, *, sha256=b""):
        told = self.decides if durable == OWNER else self.listens
        sha256 = sha256 or hashlib.sha256(stored.data).digest()
        id = stored.headers["ce-id"]
        told.durables[durable].records[id] = Recorded(stored.sequence, sha256)

    def forget(self, stored, durable):
        """Keep of a message only that it was handled."""
        told = self.decides if durable == OWNER else self.listens
        record = Recorded(stored.sequence, b"", forgotten=True)
        told.durables[durable].records[stored.headers["ce-id"]] = record

    def row(self, told, user):
        row = RowTold(fingerprint(user), AT)
        if user.request_id in told.rows[CONFIRMED]:
            told.second_rows.append((CONFIRMED, user.request_id))
        told.rows[CONFIRMED][user.request_id] = row

    def set_aside(self, stored, durable=OWNER):
        said = {"durable": durable, "reason": "UNDECODABLE", "first-at": AT.isoformat()}
        ours = {f"seaway-{name}": value for name, value in said.items()}
        ours |= {"seaway-last-at": AT.isoformat(), "seaway-original-subject": stored.subject}
        subject = f"dead.{durable}.{stored.headers.get('ce-id', 'sequence-1')}"
        kept = Stored(subject, stored.data, {**stored.headers, **ours}, 1, AT)
        self.letters.append(Letter.of(kept))

    def request(self, key):
        return self.say(CreateUserRequested(request_id=key, email="a@b.c", display_name="A"))

    def confirm(self, key, *, rows=True, listened=True):
        """The user is there, and everybody knows."""
        user = user_of(key)
        event = self.say(user, cause=key)
        if rows:
            self.row(self.decides, user)
        if listened:
            self.record(event, LISTENER)
            self.row(self.listens, user)
        return event

    def scene(self, **more):
        durables = {
            OWNER: durable_of(CreateUserRequested, "user-creation", ack_floor=self.floor),
            LISTENER: durable_of(CreateUserConfirmed, "crm", ack_floor=self.floor),
        }
        fields = {
            "until": self.sequence,
            "kept_from": self.kept_from,
            "letters": self.letters,
            "thrown_away": self.thrown_away,
        }
        told = [self.decides, self.listens]
        return Scene(**{"stream": "USERS", "types": TYPES, "durables": durables, "told": told}
                     | fields | more)  # fmt: skip

    def report(self, **more):
        return reconcile(self.scene(**more), self.messages)

    def expect(self, kind, key):
        self.expected.add((kind, key))


def found(report):
    return {(difference.kind, difference.key) for difference in report.differences}


# Fates of one sign-up. What a fate does before its first `yield` has aged out since, what it does
# before its second is settled, and the rest is not.


def fine(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key)
    yield


def rejected(world, key):
    yield
    world.record(world.request(key))
    world.say(CreateUserRejected(request_id=key), cause=key)
    yield


def not_delivered_yet(world, key):
    yield
    yield
    world.request(key)


def recorded_and_not_answered_yet(world, key):
    yield
    yield
    world.record(world.request(key))
    world.row(world.decides, user_of(key))


def answered_and_not_acked_yet(world, key):
    yield
    yield
    world.record(world.request(key))
    world.confirm(key)


def not_listened_to_yet(world, key):
    yield
    world.record(world.request(key))
    yield
    world.confirm(key, listened=False)


def aged_out(world, key):
    world.record(world.request(key))
    world.confirm(key)
    yield
    yield


def request_aged_out(world, key):
    world.record(world.request(key))
    yield
    world.confirm(key)
    yield


def set_aside(world, key):
    yield
    world.set_aside(world.request(key))
    yield


def set_aside_without_an_id(world, key):
    yield
    subject = address_of(CreateUserRequested).subject_for(key)
    request = CreateUserRequested(request_id=key)
    world.set_aside(world.say(request, subject=subject, headers={}, data=key.encode()))
    yield


def thrown_away(world, key):
    yield
    stored = world.request(key)
    sha256 = hashlib.sha256(stored.data).digest()
    world.thrown_away.append(Discarded(OWNER, stored.headers, sha256))
    yield


def redriven_and_handled(world, key):
    yield
    first = world.request(key)
    world.record(world.again(first))
    world.confirm(key)
    yield


def redriven_after_it_was_handled(world, key):
    yield
    first = world.request(key)
    world.record(first)
    world.confirm(key)
    world.again(first)
    yield


def redriven_and_waiting(world, key):
    yield
    first = world.request(key)
    yield
    world.again(first)


def redriven_without_an_id_and_set_aside_again(world, key):
    yield
    subject = address_of(CreateUserRequested).subject_for(key)
    request = CreateUserRequested(request_id=key)
    first = world.say(request, subject=subject, headers={}, data=key.encode())
    world.set_aside(world.again(first))
    yield


def given_up_by_the_listener(world, key):
    yield
    world.record(world.request(key))
    world.set_aside(world.confirm(key, listened=False), LISTENER)
    yield


def another_with_its_id_is_set_aside(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key)
    other = str(uuid5(SEAWAY, key))
    request = CreateUserRequested(request_id=other, email="x@y.z", display_name="X")
    world.set_aside(world.say(request, id=key))
    yield


def forgotten_by_the_listener(world, key):
    yield
    world.record(world.request(key))
    world.forget(world.confirm(key, listened=False), LISTENER)
    yield


def forgotten_by_whoever_decides(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key, rows=False)
    world.decides.rows[CONFIRMED][key] = RowTold(b"", AT, forgotten=True)
    yield


def forgotten_and_taken_out_of_the_stream(world, key):
    yield
    world.record(world.request(key))
    world.forget(world.confirm(key, listened=False), LISTENER)
    taken = world.messages.pop()
    world.messages.append(replace(taken, subject="users.v1.something-else.x"))
    world.decides.rows[CONFIRMED][key] = RowTold(b"", AT, forgotten=True)
    world.say(CreateUserRejected(request_id=key), cause=key)
    yield


HARMLESS = [
    fine,
    forgotten_by_the_listener,
    forgotten_by_whoever_decides,
    forgotten_and_taken_out_of_the_stream,
    rejected,
    not_delivered_yet,
    recorded_and_not_answered_yet,
    answered_and_not_acked_yet,
    not_listened_to_yet,
    aged_out,
    request_aged_out,
    set_aside,
    set_aside_without_an_id,
    thrown_away,
    redriven_and_handled,
    redriven_after_it_was_handled,
    redriven_and_waiting,
    redriven_without_an_id_and_set_aside_again,
    given_up_by_the_listener,
    another_with_its_id_is_set_aside,
]


def lost(world, key):
    yield
    world.request(key)
    world.expect(Kind.LOST, key)
    yield


def lost_though_answered(world, key):
    yield
    world.request(key)
    world.confirm(key)
    world.expect(Kind.LOST, key)
    yield


def lost_by_the_listener(world, key):
    yield
    world.record(world.request(key))
    event = world.confirm(key, listened=False)
    world.expect(Kind.LOST, event.headers["ce-id"])
    yield


def lost_after_a_redrive(world, key):
    yield
    world.again(world.request(key))
    world.expect(Kind.LOST, key)
    yield


def recorded_from_nowhere(world, key):
    yield
    world.record(world.request(key))
    world.messages.pop()
    world.expect(Kind.UNEXPECTED, key)
    yield


def recorded_and_answered_from_nowhere(world, key):
    yield
    world.record(world.request(key))
    world.messages.pop()
    world.confirm(key)
    world.expect(Kind.UNEXPECTED, key)
    yield


def changed_body(world, key):
    yield
    world.record(world.request(key), sha256=bytes(32))
    world.confirm(key)
    world.expect(Kind.CHANGED_BODY, key)
    yield


def not_answered(world, key):
    yield
    world.record(world.request(key))
    world.expect(Kind.NO_OUTCOME, key)
    yield


def not_answered_though_there_is_a_row(world, key):
    yield
    world.record(world.request(key))
    world.row(world.decides, user_of(key))
    world.expect(Kind.NO_OUTCOME, key)
    yield


def set_aside_though_there_is_a_row(world, key):
    yield
    world.set_aside(world.request(key))
    world.row(world.decides, user_of(key))
    world.expect(Kind.NO_EVENT, key)
    yield


def not_asked(world, key):
    yield
    world.confirm(key)
    world.expect(Kind.NO_REQUEST, key)
    yield


def both_outcomes(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key)
    world.say(CreateUserRejected(request_id=key), cause=key)
    world.expect(Kind.TWO_OUTCOMES, key)
    yield


def without_a_row(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key, rows=False)
    world.expect(Kind.ROW_MISSING, key)
    yield


def without_a_row_at_the_listener(world, key):
    yield
    world.record(world.request(key))
    world.record(world.confirm(key, listened=False), LISTENER)
    world.expect(Kind.ROW_MISSING, key)
    yield


def a_row_too_many(world, key):
    yield
    world.row(world.decides, user_of(key))
    world.expect(Kind.NO_EVENT, key)
    yield


def a_row_of_a_rejected(world, key):
    yield
    world.record(world.request(key))
    world.say(CreateUserRejected(request_id=key), cause=key)
    world.row(world.decides, user_of(key))
    world.expect(Kind.NO_EVENT, key)
    yield


def two_rows(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key)
    world.row(world.decides, user_of(key))
    world.expect(Kind.SECOND_ROW, key)
    yield


def two_rows_of_which_one_says_something_else(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key)
    world.row(world.decides, user_of(key, locale="fr"))
    world.expect(Kind.SECOND_ROW, key)
    yield


def changed_field(world, key):
    yield
    world.record(world.request(key))
    world.confirm(key, rows=False)
    world.row(world.decides, user_of(key, locale="fr"))
    world.expect(Kind.CHANGED_ROW, key)
    yield


WRONG = [
    lost,
    lost_though_answered,
    lost_by_the_listener,
    lost_after_a_redrive,
    recorded_from_nowhere,
    recorded_and_answered_from_nowhere,
    changed_body,
    not_answered,
    not_answered_though_there_is_a_row,
    set_aside_though_there_is_a_row,
    not_asked,
    both_outcomes,
    without_a_row,
    without_a_row_at_the_listener,
    a_row_too_many,
    a_row_of_a_rejected,
    two_rows,
    two_rows_of_which_one_says_something_else,
    changed_field,
]


def world_of(fates):
    world = World()
    lives = [fate(world, key(number)) for number, fate in enumerate(fates)]
    for life in lives:
        next(life)
    aged, world.messages = world.messages, []
    world.kept_from = len(aged) + 1
    for told in (world.decides, world.listens) if aged else ():
        # Rows are for ever; those of an event that has aged out are as old as it is.
        old = {m.subject.rpartition(".")[2] for m in aged if ".create-confirmed." in m.subject}
        for one in old & told.rows[CONFIRMED].keys():
            row = told.rows[CONFIRMED][one]
            told.rows[CONFIRMED][one] = row._replace(at=AT - timedelta(days=1))
    for life in lives:
        next(life)
    world.floor = world.sequence
    for life in lives:
        next(life, None)
    return world


def rows_since(world):
    return None if world.kept_from == 1 else AT - timedelta(minutes=2)


@pytest.mark.parametrize("fate", HARMLESS, ids=lambda f: f.__name__)
def test_what_adds_up_is_no_difference(fate):
    world = world_of([fine, fate, fine])
    assert found(world.report(rows_since=rows_since(world))) == set()


@pytest.mark.parametrize("fate", WRONG, ids=lambda f: f.__name__)
def test_what_does_not_add_up_is_named_and_nothing_else(fate):
    world = world_of([fine, fate, fine])
    report = world.report()
    assert found(report) == world.expected
    assert len(report.differences) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*HARMLESS, *WRONG]), max_size=30))
def test_any_set_of_differences_is_found_exactly(fates):
    world = world_of(fates)
    report = world.report(rows_since=rows_since(world))
    assert found(report) == world.expected
    assert len(report.differences) == sum(fate in WRONG for fate in fates)


def test_a_sentence_says_who_and_where():
    report = world_of([lost]).report()
    (difference,) = report.differences
    assert difference.sentence == (
        f"{OWNER} was done with #1 ({key(0)}), which is neither recorded nor set aside"
    )
    assert difference.to_json() == {
        "difference": "lost delivery",
        "stream": "USERS",
        "durable": OWNER,
        "key": key(0),
        "sequence": 1,
        "sentence": difference.sentence,
    }
    assert report.unaccounted == {OWNER: 1}


def test_everything_is_counted():
    report = world_of([fine, rejected, set_aside, lost, not_delivered_yet]).report()
    assert report.summary() == ("accepted 5  outcomes 2  dead letters 1  pending 1  unaccounted 1")
    assert report.pending == {OWNER: 1, LISTENER: 0}
    assert [letter.reason for letter in report.letters] == ["UNDECODABLE"]
    assert not report.is_clean


def test_what_is_forgotten_is_counted_apart():
    fates = [fine, forgotten_by_the_listener, forgotten_by_the_listener]
    report = world_of([*fates, forgotten_by_whoever_decides]).report()
    assert report.forgotten == {LISTENER: 2, "user-creation": 1}
    assert report.is_clean
    assert report.summary().endswith("unaccounted 0  forgotten 3")
    assert "forgotten" not in world_of([fine]).report().summary()


def test_a_durable_that_began_later_owes_nothing_older():
    world = world_of([fine, not_listened_to_yet])
    world.floor = world.sequence
    world.listens.durables[LISTENER].start = "now"
    world.listens.durables[LISTENER].records.clear()
    world.listens.rows.clear()
    late = durable_of(
        CreateUserConfirmed, "crm", ack_floor=world.floor, created=AT + timedelta(days=1)
    )
    durables = world.scene().durables
    assert found(world.report(durables={**durables, LISTENER: late})) == set()
    early = durable_of(CreateUserConfirmed, "crm", ack_floor=world.floor, created=AT)
    report = world.report(durables={**durables, LISTENER: early})
    assert [d.kind for d in report.differences] == [Kind.LOST, Kind.LOST]


def test_a_durable_that_was_made_anew_owes_what_waited_for_the_one_before():
    world = world_of([fine, lost_by_the_listener, fine, lost_by_the_listener])
    world.expected.clear()
    world.floor = world.sequence
    world.listens.durables[LISTENER].start = "now"
    anew = durable_of(CreateUserConfirmed, "crm", ack_floor=world.sequence)
    start = {"deliver_policy": "by_start_sequence", "opt_start_seq": world.sequence + 1}
    anew = replace(anew, config=anew.config | start)
    report = world.report(durables={**world.scene().durables, LISTENER: anew})
    lost = [d for d in report.differences if d.kind is Kind.LOST]
    assert [d.durable for d in lost] == [LISTENER, LISTENER]
    assert all(f"{LISTENER} was made anew after #{d.sequence} " in d.sentence for d in lost)
    # What was there before the first of its records may have been before its time.
    first = min(r.sequence for r in world.listens.durables[LISTENER].records.values())
    assert all(d.sequence > first for d in lost)


def test_whoever_only_looks_on_does_not_have_to_answer():
    world = world_of([fine, not_answered, not_listened_to_yet])
    archive = "archive-users"
    spec = DurableSpec(archive, "archive", "USERS", ("users.v1.*.*",), "now", 5.0, 1000)
    durables = {**world.scene().durables, archive: Durable(spec.config(), 9, 0, 0, 0)}
    told = Told("archive", durables={archive: DurableTold("beginning", is_kept=True)})
    report = world.report(durables=durables, told=[world.decides, world.listens, told])
    assert [(d.kind, d.durable) for d in report.differences] == [(Kind.NO_OUTCOME, OWNER)]
    assert report.pending == {OWNER: 0, LISTENER: 1, archive: world.sequence}


def test_of_a_service_without_a_record_it_is_said_that_nothing_is_known():
    world = world_of([fine, lost_by_the_listener])
    world.listens.durables[LISTENER] = DurableTold("beginning", is_kept=False)
    world.listens.rows.clear()
    report = world.report()
    assert report.differences == ()
    assert report.unrecorded == (LISTENER,)


def test_a_program_that_tells_nothing_is_known_by_its_durable():
    world = world_of([fine])
    told = [world.decides, Told("crm", tells=False)]
    report = world.report(told=told)
    assert report.differences == ()
    assert report.unrecorded == (LISTENER,)


def test_a_durable_that_nobody_answers_for_is_named():
    world = world_of([fine])
    report = world.report(told=[world.decides])
    assert [(d.kind, d.durable) for d in report.differences] == [(Kind.NO_SERVICE, LISTENER)]


def test_a_durable_that_is_gone_is_named():
    world = world_of([fine])
    durables = {OWNER: world.scene().durables[OWNER]}
    report = world.report(durables=durables)
    assert [(d.kind, d.durable) for d in report.differences] == [(Kind.NO_DURABLE, LISTENER)]


def test_what_was_stored_after_the_rows_were_read_needs_no_row_yet():
    world = world_of([fine])
    until = world.sequence
    world.record(world.request(key(7)))
    world.confirm(key(7), rows=False, listened=False)
    assert found(world.report(until=until)) == set()


def test_a_request_to_which_nobody_listens_waits():
    world = World()
    world.request(key(0))
    report = world.report(told=[Told("gateway")], durables={})
    assert report.differences == ()
    assert report.pending == {"": 1}


def test_a_service_says_what_is_not_understood():
    with pytest.raises(ValueError, match="not understood"):
        Told("crm").add({"durable": 7})
    with pytest.raises(ValueError, match="the database is away"):
        Told("crm").add({"error": "the database is away"})


def test_unknown_fields_make_no_difference_and_others_do():
    newer = user_of("x").SerializeToString() + b"\x9a\x06\x01x"
    assert fingerprint(CreateUserConfirmed.FromString(newer)) == fingerprint(user_of("x"))
    assert fingerprint(user_of("x", locale="fr")) != fingerprint(user_of("x"))
