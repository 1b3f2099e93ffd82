"""A batch of which some fail and some do not."""

from uuid import uuid4

import pytest
from acme.users.v1 import CreateUserConfirmed, UserAddedToCrm
from seaway.errors import DependencyDown, Unprocessable
from seaway.inbox import MemoryInbox
from seaway.service import Service
from seaway.testing import running


def confirmed(name):
    key = str(uuid4())
    return CreateUserConfirmed(
        request_id=key, user_id=key, email=f"{name}@example.org", display_name=name
    )


class Flaky:
    """A handler that is given a batch, and fails for those that are named, so often."""

    def __init__(self, **failures):
        self.failures = failures
        self.batches = []

    def service(self):
        service = Service("flaky", MemoryInbox())

        @service.on_batch(CreateUserConfirmed, up_to=10)
        async def handle(messages):
            self.batches.append(sorted(message.body.display_name for message in messages))
            return [self.answer(message.body) for message in messages]

        return service

    def answer(self, user):
        if errors := self.failures.get(user.display_name):
            return errors.pop(0)
        return UserAddedToCrm(request_id=user.request_id, user_id=user.user_id)


async def test_what_failed_for_good_is_set_aside_and_the_others_are_handled_once():
    flaky = Flaky(bad=[Unprocessable("REFUSED")], worse=[Unprocessable("REFUSED_TOO")])
    async with running(flaky.service()) as system:
        users = [confirmed(name) for name in ("ada", "bad", "bob", "worse")]
        await system.send(*users)
    assert system.dead_letters == ["REFUSED", "REFUSED_TOO"]
    assert [m.request_id for m in system.published] == [users[0].request_id, users[2].request_id]
    assert flaky.batches == [["ada", "bad", "bob", "worse"]]


@pytest.mark.parametrize("error", [ValueError("busy"), DependencyDown("away")], ids=repr)
async def test_what_may_pass_is_tried_again_alone(error):
    flaky = Flaky(late=[error, error])
    async with running(flaky.service()) as system:
        await system.send(confirmed("ada"), confirmed("late"), confirmed("bob"))
    assert system.dead_letters == []
    assert flaky.batches == [["ada", "bob", "late"], ["late"], ["late"]]
    assert len(system.published) == 3


async def test_the_tenth_failure_of_one_is_a_dead_letter_and_nobody_elses():
    flaky = Flaky(never=[ValueError(number) for number in range(10)])
    async with running(flaky.service()) as system:
        await system.send(confirmed("ada"), confirmed("never"))
    assert system.dead_letters == ["FAILED_TOO_OFTEN"]
    assert len(flaky.batches) == 10
    assert len(system.published) == 1


async def test_all_may_fail():
    flaky = Flaky(ada=[Unprocessable("REFUSED")], bob=[ValueError()])
    async with running(flaky.service()) as system:
        await system.send(confirmed("ada"), confirmed("bob"))
    assert system.dead_letters[0] == "REFUSED"
    assert len(system.published) == 1
