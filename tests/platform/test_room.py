"""Who may be in hand beside whom, in one process."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from clocks import Clock
from seaway.room import Room

PATIENCE = 0.05


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def room(clock):
    return Room(clock, PATIENCE)


async def settled(task):
    """Give a task every chance to go on, and say whether it is done."""
    for _ in range(10):
        await asyncio.sleep(0)
    return task.done()


async def come_in(room, stack):
    await stack.enter_async_context(room.beside_others())


async def be_alone(room, stack):
    return await stack.enter_async_context(room.alone())


async def test_any_number_may_be_beside_each_other(room):
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await come_in(room, stack)


async def test_a_suspect_is_alone_when_all_who_were_there_have_left(room):
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as third:
        await come_in(room, first)
        await come_in(room, second)
        alone = asyncio.create_task(be_alone(room, third))
        assert not await settled(alone)
        await first.aclose()
        assert not await settled(alone)
        await second.aclose()
        assert await alone


async def test_while_a_suspect_is_there_or_waits_nobody_comes_in(room):
    async with AsyncExitStack() as before, AsyncExitStack() as suspect, AsyncExitStack() as after:
        await come_in(room, before)
        alone = asyncio.create_task(be_alone(room, suspect))
        await settled(alone)
        entering = asyncio.create_task(come_in(room, after))
        opened = asyncio.create_task(room.opened())
        assert not await settled(entering)  # it waits
        await before.aclose()
        assert await alone
        assert not await settled(entering)  # it is there
        assert not opened.done()
        await suspect.aclose()
        await asyncio.gather(entering, opened)


async def test_two_suspects_are_not_alone_together(room):
    async with AsyncExitStack() as one, AsyncExitStack() as other:
        assert await be_alone(room, one)
        waiting = asyncio.create_task(be_alone(room, other))
        assert not await settled(waiting)
        await one.aclose()
        assert await waiting


async def test_a_suspect_whom_others_keep_waiting_gives_way_and_waits_longer_next_time(room):
    loop = asyncio.get_running_loop()
    waits = []
    async with room.beside_others():
        for _ in range(2):
            began = loop.time()
            async with room.alone() as is_alone:
                assert not is_alone
            waits.append(loop.time() - began)
        await room.opened()  # it has let the others in again
    assert waits[0] >= PATIENCE * 0.99
    assert waits[1] >= 2 * PATIENCE * 0.99
    async with room.alone() as is_alone:
        assert is_alone


async def test_who_is_cancelled_or_fails_leaves_the_room(room):
    async def fail():
        async with room.beside_others():
            raise ZeroDivisionError

    async def fail_alone():
        async with room.alone():
            raise ZeroDivisionError

    for failing in (fail, fail_alone):
        with pytest.raises(ZeroDivisionError):
            await failing()
    async with AsyncExitStack() as stack:
        await come_in(room, stack)
        waiting = asyncio.create_task(be_alone(room, stack))
        await settled(waiting)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await room.opened()
    async with room.alone() as is_alone:
        assert is_alone


async def test_a_process_works_for_a_while_before_it_risks_its_life(room, clock):
    assert room.too_soon(0) == 0
    assert room.too_soon(30) == 30
    clock.now += 12
    assert room.too_soon(30) == 18
    clock.now += 100
    assert room.too_soon(30) == 0


async def test_others_have_the_room_for_as_long_as_the_last_suspect_had_it(room, clock):
    async with room.alone():
        clock.now += 3
    assert room.too_soon(0) == 3
    clock.now += 2
    assert room.too_soon(0) == 1
    clock.now += 1
    assert room.too_soon(0) == 0
