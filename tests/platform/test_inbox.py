"""What the inbox of tests promises; the one in SQL is held to the same by its own tests."""

import pytest
from seaway.broker import Posting
from seaway.errors import Raced
from seaway.inbox import Handled, MemoryInbox, NoInbox

REPLY = Posting("USERS", "users.v1.create-confirmed.x", b"body", {"ce-id": "x"})


def row(id, *replies):
    return Handled(message_id=id, sequence=1, sha256=b"hash", replies=replies)


async def test_what_was_handled_is_found_with_the_replies_it_was_given():
    inbox = MemoryInbox()
    async with inbox.transaction("greeter") as transaction:
        assert await transaction.find(["a", "b"]) == {}
        await transaction.record([row("a", REPLY), row("b")])
    async with inbox.transaction("greeter") as transaction:
        assert await transaction.find(["a", "c"]) == {"a": row("a", REPLY)}


async def test_each_durable_has_its_own_memory():
    inbox = MemoryInbox()
    async with inbox.transaction("greeter") as transaction:
        await transaction.record([row("a")])
    async with inbox.transaction("warehouse") as transaction:
        assert await transaction.find(["a"]) == {}
        await transaction.record([row("a")])
    assert len(inbox.rows) == 2


async def test_nothing_is_kept_of_a_transaction_that_fails():
    inbox = MemoryInbox()

    async def fail():
        async with inbox.transaction("greeter") as transaction:
            await transaction.record([row("a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert inbox.rows == {}


async def test_whoever_records_second_is_told_so():
    inbox = MemoryInbox()
    async with inbox.transaction("greeter") as slow:
        async with inbox.transaction("greeter") as fast:
            await fast.record([row("a")])
        with pytest.raises(Raced, match="greeter has handled a meanwhile"):
            await slow.record([row("a")])


async def test_of_two_transactions_beside_each_other_one_commits():
    inbox = MemoryInbox()

    async def slow():
        async with inbox.transaction("greeter") as transaction:
            await transaction.record([row("a")])
            async with inbox.transaction("greeter") as fast:
                await fast.record([row("a", REPLY)])

    with pytest.raises(Raced, match="another transaction has handled"):
        await slow()
    assert inbox.rows["greeter", "a"] == row("a", REPLY)


async def test_without_an_inbox_nothing_is_remembered():
    inbox = NoInbox()
    async with inbox.transaction("greeter") as transaction:
        await transaction.record([row("a")])
    async with inbox.transaction("greeter") as transaction:
        assert await transaction.find(["a"]) == {}


def test_the_same_id_with_another_body_is_not_the_same_message():
    assert row("a", REPLY).same(row("a"))
    assert not row("a").same(row("b"))
    assert not row("a").same(Handled("a", 1, b"another hash"))
    assert row("a").answered((REPLY,)) == row("a", REPLY)
