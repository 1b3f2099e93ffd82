"""What an answer means, told apart by whose fault it is."""

import json

import pytest
from crm.answers import check, failures
from crm.calling import Answer
from crm.hubspot import MOST_INPUTS, calls_for
from hypothesis import given
from hypothesis import strategies as st
from seaway.errors import DependencyDown, NotNow, Unprocessable

SENT = {"trace-1": "Ada@Example.org", "trace-2": "bob@example.org", "trace-3": "eve@example.org"}


def an_answer(status, content=b"{}"):
    return Answer(status, {}, content)


def result(trace="", email=""):
    return {"id": "1", "objectWriteTraceId": trace or None, "properties": {"email": email}}


def error(category="VALIDATION_ERROR", **context):
    return {"status": "error", "category": category, "message": "…", "context": context}


@pytest.mark.parametrize("status", [200, 201, 207])
def test_done(status):
    assert check(an_answer(status)) == {}


@pytest.mark.parametrize("status", [400, 406, 412, 413, 414, 415, 418, 422, 431, 451])
def test_what_it_was_sent_is_to_blame(status):
    with pytest.raises(Unprocessable) as refused:
        check(an_answer(status))
    assert refused.value.reason == "CRM_REFUSED"


@pytest.mark.parametrize("status", [408, 409, 423, 425])
def test_it_may_pass(status):
    with pytest.raises(NotNow):
        check(an_answer(status))


@pytest.mark.parametrize(
    "status",
    [
        100,
        204,
        301,
        302,
        307,
        401,
        402,
        403,
        404,
        405,
        407,
        410,
        500,
        501,
        502,
        503,
        504,
        599,
        999,
    ],
)
def test_nobody_is_to_blame_but_the_crm_or_us(status):
    with pytest.raises(DependencyDown):
        check(an_answer(status))


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000], ids=repr)
def test_an_answer_that_is_no_json_is_an_outage(body):
    with pytest.raises(DependencyDown):
        check(an_answer(200, body[:200_000]))


MISSING = [{"isValid": False, "error": "PROPERTY_DOESNT_EXIST", "name": "user_id"}]


@pytest.mark.parametrize(
    "said",
    [
        {"category": "VALIDATION_ERROR", "errors": [{"code": "PROPERTY_DOESNT_EXIST"}]},
        {"message": f"Property values were not valid: {json.dumps(MISSING)}"},
    ],
    ids=["listed", "in the message"],
)
def test_a_property_that_is_missing_is_our_fault(said):
    with pytest.raises(DependencyDown):
        check(an_answer(400, json.dumps(said).encode()))


@pytest.mark.parametrize("name", ["PROPERTY_DOESNT_EXIST", '", "error": "PROPERTY_DOESNT_EXIST'])
def test_what_people_call_themselves_is_no_code(name):
    about = [{"error": "INVALID_EMAIL", "message": f"{name}@example.org is invalid"}]
    said = {
        "message": f"Property values were not valid: {json.dumps(about)}",
        "errors": [{"code": "INVALID_EMAIL", "message": name, "context": {"email": [name]}}],
    }
    with pytest.raises(Unprocessable):
        check(an_answer(400, json.dumps(said).encode()))


def test_all_are_named_by_their_trace_or_by_their_address():
    said = {"results": [result("trace-1"), result(email="BOB@example.org"), result("trace-3")]}
    assert failures(SENT, said) == {}


@pytest.mark.parametrize(
    "about",
    [
        {"objectWriteTraceId": ["trace-2"]},
        {"objectWriteTraceId": "trace-2"},
        {"ids": ["bob@example.org"]},
        {"id": "bob@example.org"},
        {"email": ["BOB@example.org".lower()]},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("VALIDATION_ERROR", Unprocessable),
        ("INVALID_EMAIL", Unprocessable),
        ("CONFLICT", NotNow),
        ("RATE_LIMITS", NotNow),
        ("NEVER_HEARD_OF", NotNow),
    ],
)
def test_only_the_one_that_is_blamed_has_failed(about, category, kind):
    said = {
        "results": [result("trace-1"), result("trace-3")],
        "errors": [error(category, **about)],
    }
    [(trace, why)] = failures(SENT, said).items()
    assert trace == "trace-2"
    assert isinstance(why, kind)


def test_one_that_is_done_and_blamed_has_failed():
    said = {"results": [result(i) for i in SENT], "errors": [error(ids=["bob@example.org"])]}
    assert list(failures(SENT, said)) == ["trace-2"]


def test_of_what_is_not_mentioned_nothing_is_known():
    said = {"results": [result("trace-1")], "errors": [error()]}
    found = failures(SENT, said)
    assert set(found) == {"trace-2", "trace-3"}
    assert all(isinstance(why, NotNow) for why in found.values())


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["trace-1", *SENT.values()]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["results", "errors", "context", "ids", "category", "properties", "email"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
)


@given(anything)
def test_whatever_it_says_is_understood_or_nothing_is_taken_as_done(said):
    found = failures(SENT, json.loads(json.dumps(said)))
    assert found.keys() <= SENT.keys()
    assert all(isinstance(why, NotNow | Unprocessable) for why in found.values())


@given(
    st.lists(st.sampled_from(["a@b.org", "A@b.org", "c@d.org", "e@f.org", *map(str, range(99))]))
)
def test_no_call_names_an_address_twice_and_each_is_sent_in_order(emails):
    class User:
        def __init__(self, number, email):
            self.number, self.email = number, email

    calls = calls_for([User(number, email) for number, email in enumerate(emails)])
    for call in calls:
        assert len({user.email.lower() for user in call}) == len(call) <= MOST_INPUTS
    for address in {email.lower() for email in emails}:
        sent = [user.number for call in calls for user in call if user.email.lower() == address]
        assert sent == [n for n, email in enumerate(emails) if email.lower() == address]
