"""What a projection is given: everything together, also what comes again."""

from uuid import uuid4

from acme.users.v1 import CreateUserRequested
from seaway import Service
from seaway.service import TOGETHER_UNTIL
from seaway.testing import running


def requested(number):
    return CreateUserRequested(
        request_id=str(uuid4()), email=f"{number}@example.org", display_name="Ada"
    )


async def test_a_projection_takes_what_comes_again_together_and_then_each_alone():
    service, given = Service("ledger"), []

    @service.on_stream("USERS", within=0.0)
    async def keep(messages):
        given.append(len(messages))
        if len(messages) > 1:
            raise TimeoutError
        return [None for _ in messages]

    async with running(service) as system:
        await system.send(*(requested(number) for number in range(7)))
        assert system.dead_letters == []
    assert given == [7] * TOGETHER_UNTIL + [1] * 7


async def test_another_service_takes_what_comes_again_alone():
    service, given = Service("mailer"), []

    @service.on_batch(CreateUserRequested)
    async def greet(messages):
        given.append(len(messages))
        if len(messages) > 1:
            raise TimeoutError
        return [None for _ in messages]

    async with running(service) as system:
        await system.send(*(requested(number) for number in range(7)))
    assert given == [7] + [1] * 7
