"""What contracts and services ask of the broker, as JetStream's API and as JSON say it."""

import json
from dataclasses import replace

import pytest
from acme.users.v1 import CreateUserConfirmed
from brokers import STREAM, a_spec
from seaway import Service
from seaway.errors import TopologyError
from seaway.topology import LIVE, DurableSpec, stream_config
from seaway.topology.rules import covers


def test_a_stream_without_limits_asks_for_none():
    config = stream_config(replace(STREAM, max_age=None, max_bytes=None, once_per_key=False))
    assert (config["max_age"], config["max_bytes"], config["max_msgs_per_subject"]) == (0, -1, -1)
    assert not config["discard_new_per_subject"]


def test_a_duplicate_window_is_asked_for_only_if_it_is_declared():
    assert "duplicate_window" not in stream_config(STREAM)
    assert (
        stream_config(replace(STREAM, duplicate_window=1.5))["duplicate_window"] == 1_500_000_000
    )


def test_what_is_stored_is_told_under_live():
    assert stream_config(STREAM)["republish"] == {"src": "test.v1.>", "dest": f"{LIVE}.test.v1.>"}


async def ignore(_):
    """Handle nothing."""


def test_a_subscription_travels_as_json():
    service = Service("welcome-email")
    service.on(CreateUserConfirmed, start="now")(ignore)
    spec = DurableSpec.of(service.subscriptions[0])
    assert DurableSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.name == "welcome-email-create-user-confirmed"
    assert (spec.service, spec.stream, spec.start) == ("welcome-email", "USERS", "now")


def test_a_service_in_another_language_gets_the_durable_that_it_would_have_here():
    service = Service("welcome-email")
    service.on(CreateUserConfirmed, start="now")(ignore)
    elsewhere = DurableSpec.elsewhere("welcome-email", "acme.users.v1.CreateUserConfirmed", "now")
    assert elsewhere == DurableSpec.of(service.subscriptions[0])
    with pytest.raises(TopologyError, match=r"acme\.users\.v1\.Nothing"):
        DurableSpec.elsewhere("welcome-email", "acme.users.v1.Nothing")


@pytest.mark.parametrize(
    "broken", [{}, {"start": "later"}, {"filter_subjects": []}, {"ack_wait": "5"}]
)
def test_json_that_is_no_subscription_is_refused(broken):
    entry = a_spec().to_json() | broken if broken else {}
    with pytest.raises(TopologyError, match="not the durable"):
        DurableSpec.from_json(entry)


@pytest.mark.parametrize(
    ("pattern", "subjects", "does"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.>", "a.b.*", True),
        ("a.>", "a.>", True),
        (">", "a", True),
        ("a.*", "a.*", True),
        ("a.b", "a.*", False),
        ("a.*", "a.>", False),
        ("a.>", "a", False),
        ("a.*", "a.b.c", False),
        ("a.*.c", "a.b", False),
        ("a.b", "a.c", False),
    ],
)
def test_one_filter_covers_another(pattern, subjects, does):
    assert covers(pattern, subjects) is does
