"""The checker that all fault tests rely on: it names each thing that a fault could break."""

import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from invariants import CONFIRMED, REJECTED, REQUESTED, State, differences
from sign_ups import SignUp, a_request


def told(*states):
    one = SignUp(a_request())
    for state in states:
        one.hear(api.SignUpUpdate(state=state))
    return one


def state_after(confirmed=(), rejected=()):
    ids = [one.request_id for one in confirmed], [one.request_id for one in rejected]
    return State(
        stored={REQUESTED: [*ids[0], *ids[1]], CONFIRMED: ids[0], REJECTED: ids[1]},
        users=[(request_id, f"{request_id}@example.org") for request_id in ids[0]],
    )


@pytest.fixture
def happy():
    """One who was confirmed, one who was rejected, and what is stored of them."""
    yes = told(api.STATE_ACCEPTED, api.STATE_CONFIRMED)
    no = told(api.STATE_ACCEPTED, api.STATE_REJECTED)
    return yes, no, state_after([yes], [no])


def names(history, state, **more):
    return {each.partition(":")[0] for each in differences(history, state, **more)}


def test_nothing_is_wrong_when_nothing_is_wrong(happy):
    yes, no, state = happy
    assert differences([yes, no], state) == []


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (lambda yes, no, state: state.stored[CONFIRMED].clear(), "I1"),
        (lambda yes, no, state: state.stored[REQUESTED].clear(), "I1"),
        (lambda yes, no, state: state.users.append(state.users[0]), "I2"),
        (lambda yes, no, state: state.users.append(("other", state.users[0][1])), "I2"),
        (lambda yes, no, state: state.stored[REJECTED].append(yes.request_id), "I3"),
        (lambda yes, no, state: state.stored[CONFIRMED].append("unasked"), "I3"),
        (lambda yes, no, state: yes.hear(api.SignUpUpdate(state=api.STATE_REJECTED)), "I3"),
        (lambda yes, no, state: no.told.pop(), "I6"),
        (lambda yes, no, state: state.dead.append(("id", "POISON")), "I7"),
        (lambda yes, no, state: state.users.clear(), "I8"),
        (lambda yes, no, state: state.stored[REJECTED].clear(), "I8"),
    ],
)
def test_each_difference_is_named(happy, plant, named):
    yes, no, state = happy
    plant(yes, no, state)
    assert named in names([yes, no], state)


def test_poison_that_is_ours_is_expected_and_no_other(happy):
    yes, no, state = happy
    state.dead.append(("id", "POISON"))
    assert names([yes, no], state, poison=1) == set()
    assert names([yes, no], state, poison=2) == {"I7"}
