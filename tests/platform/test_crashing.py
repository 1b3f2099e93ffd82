"""The kit that kills a service at each point: what it finds, and what it says if it cannot."""

import os
from pathlib import Path
from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, SignUpEmailHandled
from seaway.errors import BrokerUnavailable, ContractError, SeawayError
from seaway.jetstream import JetStream
from seaway.testing import Crash, ServiceProcess, crash_points, killed_at

pytestmark = pytest.mark.slow

FORGETFUL = """
import os
from acme.users.v1 import CreateUserConfirmed, SignUpEmailHandled
from seaway import DependencyDown, Service, Unprocessable
from seaway.process import serve

def build(process):
    service = Service("forgetful")

    @service.on(CreateUserConfirmed, start="now")
    async def note(message):
        with open(os.environ["BOOK"], "a") as book:
            book.write(message.id + os.linesep)
        match message.body.display_name:
            case "down":
                raise DependencyDown("for ever")
            case "poison":
                raise Unprocessable("POISON")
            case "deadly":
                os._exit(3)
        return SignUpEmailHandled(request_id=message.body.request_id)

    return service

serve("forgetful", build)
"""
"""It does what it does again and again: it has no inbox, and no key."""


@pytest.fixture
def forgetful(tmp_path):
    """Its command, and its settings."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    return ["python", str(tmp_path / "forgetful.py")], {"BOOK": str(tmp_path / "book")}


def a_user(name="Ada"):
    user = {"user_id": str(uuid4()), "email": "ada@example.org", "display_name": name}
    return CreateUserConfirmed(request_id=str(uuid4()), **user)


def lines(settings):
    return len(Path(settings["BOOK"]).read_text().splitlines())


async def test_a_broker_that_did_not_answer_in_time_is_told_once_more(forgetful, monkeypatch):
    user, publish, told = a_user(), JetStream.publish, []

    async def unheard(broker, postings):
        told.append(await publish(broker, postings))
        if len(told) < 3:
            raise BrokerUnavailable("its disk stalls")
        return told[-1]

    command, settings = forgetful
    async with killed_at(Crash("U1"), command, settings) as system:
        monkeypatch.setattr(JetStream, "publish", unheard)
        await system.send(user)
        assert await system.published() == [user, SignUpEmailHandled(request_id=user.request_id)]
    assert [receipt.repeated for [receipt] in told] == [False, True, True]


@pytest.mark.parametrize(
    ("crash", "times"),
    [
        (Crash("U1"), 1),
        (Crash("U4"), 2),
        (Crash("U4", deliveries=2), 3),
        (Crash("U5"), 1),
        (Crash("U5", deliveries=2), 2),
    ],
    ids=str,
)
async def test_a_service_that_forgets_what_it_did_is_seen_to_do_it_again(crash, times, forgetful):
    command, settings = forgetful
    user = a_user()
    async with killed_at(crash, command, settings) as system:
        await system.send(user)
        assert await system.published() == [user, SignUpEmailHandled(request_id=user.request_id)]
        assert await system.dead_letters() == []
        assert system.process.said.count(f"crashed at {crash.point}\n") == crash.deliveries
    assert lines(settings) == times


async def test_what_was_set_aside_is_shown(forgetful):
    async with killed_at(Crash("U4"), *forgetful) as system:
        await system.send(a_user(), a_user("poison"))
        assert await system.dead_letters() == ["POISON"]


async def test_a_point_that_it_never_comes_by_is_no_success(forgetful):
    async with killed_at(Crash("G1"), *forgetful) as system:
        await system.process.start(crash_at="G1")
        with pytest.raises(SeawayError, match=r"did not come by G1 within 0.1 s:\n(.*\n)*"):
            await system.process.crashed("G1", within=0.1)


async def test_dying_elsewhere_is_no_success_and_its_log_says_why(forgetful):
    async with killed_at(Crash("U9"), *forgetful) as system:
        with pytest.raises(
            SeawayError, match=r"ended with 78, and not at U9:\n(.*\n)*.*'U9' is none of"
        ):
            await system.send(a_user())


async def test_who_ends_after_the_last_start_has_not_recovered(forgetful):
    async with killed_at(Crash("U1"), *forgetful) as system:
        with pytest.raises(SeawayError, match="ended by itself"):
            await system.send(a_user("deadly"))


async def test_what_is_never_settled_is_named(forgetful):
    async with killed_at(Crash("U1"), *forgetful) as system:
        with pytest.raises(TimeoutError, match="forgetful-create-user-confirmed: 1"):
            await system.send(a_user("down"), within=2.0)


async def test_another_message_with_the_same_key_cannot_be_sent(forgetful):
    user = a_user()
    other = a_user()
    other.request_id = user.request_id
    async with killed_at(Crash("U1"), *forgetful) as system:
        await system.send(user)
        with pytest.raises(ContractError, match=user.request_id):
            await system.send(other)


async def test_a_sub_command_that_fails_says_so(forgetful, tmp_path):
    command, _ = forgetful
    process = ServiceProcess(command, {"SEAWAY_REPLICAS": "9"}, tmp_path)
    with pytest.raises(SeawayError, match=r"prepare ended with 78:\n.*SEAWAY_REPLICAS"):
        await process.call("prepare")


async def test_our_settings_are_not_the_services(forgetful, tmp_path, monkeypatch):
    monkeypatch.setenv("SEAWAY_REPLICAS", "9")
    await ServiceProcess(*forgetful, tmp_path).call("topology", "show")
    assert os.environ["SEAWAY_REPLICAS"] == "9"


def test_every_point_on_the_first_and_on_the_second_delivery():
    every = crash_points()
    assert [str(crash) for crash in every[:2]] == ["U1x1", "U1x2"]
    assert {crash.point for crash in every} == {"U1", "U2", "U3", "U4", "U5"}
    assert crash_points("G1", deliveries=[1]) == [Crash("G1")]
