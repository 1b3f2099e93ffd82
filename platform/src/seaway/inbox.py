"""Whether a message has been handled already, and with which replies.

A handler's effect, the row that says "handled" and the replies it returned commit in one
transaction. A redelivery finds the row and publishes the same replies again. So there is no
outbox and no relay: the broker's redelivery is the relay (docs/decisions/0004).
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from seaway.broker import Posting
from seaway.errors import Raced


@dataclass(frozen=True, slots=True)
class Handled:
    """A message that a durable is done with."""

    message_id: str
    sequence: int
    """Where it stood in the stream when it was handled."""
    sha256: bytes
    """Of its body: the same id with another body is not the same message."""
    replies: tuple[Posting, ...] = ()
    forgotten: bool = False
    """Whether it was told to keep nothing of it but this: then there is no hash either."""
    again: bool = False
    """Whether it was delivered before: its trials, if any, are over. A killed broker may forget
    that it was; then they stay until they are purged, and nobody asks for them."""

    def same(self, other: "Handled") -> bool:
        """Whether the other has the same id and the same body."""
        return (self.message_id, self.sha256) == (other.message_id, other.sha256)

    def answered(self, replies: tuple[Posting, ...]) -> "Handled":
        """Return it with its replies."""
        return replace(self, replies=replies)


class Transaction(Protocol):
    """All that happens in it is kept, or nothing is."""

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Handled]:
        """Return those of the messages that have been handled, by id."""

    async def record(self, handled: Sequence[Handled]) -> None:
        """Say that these are handled. Raises Raced if another worker has said so of one."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What came of earlier attempts at a message that is not handled yet."""

    failures: int = 0
    """Attempts that raised an error that counts."""
    kills: int = 0
    """Attempts from which the process that made them never came back.

    At the first of them others may have been in hand, so it is a suspicion. From then on the
    message is tried alone, and each one more is certain.
    """


class Inbox(Protocol):
    """What each durable has handled, and what it has tried in vain.

    Kept longer than the stream keeps its messages, and then purged. The trials are here, and not
    in the broker's delivery count, because a killed broker forgets that, and other people's
    deaths raise it.
    """

    def transaction(self, durable: str) -> AbstractAsyncContextManager[Transaction]:
        """Begin; commit at the end of the context, roll back if it raises."""

    async def trouble(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return what came of earlier attempts, of those messages that are on record.

        A trial that another process began and never ended is among the kills. Raises
        DependencyDown.
        """

    async def begun(self, durable: str, message_id: str, attempt: int) -> Trials:
        """Take note that this process now tries a message; return what came before.

        A trial that another process began and never ended counts as a kill.
        """

    async def failed(
        self, durable: str, message_ids: Sequence[str], attempt: int
    ) -> Sequence[int]:
        """Take note that these failed together; return how often each has failed now."""

    async def released(self, durable: str, message_ids: Sequence[str]) -> None:
        """Take note that trials ended without a failure of the message's own."""

    async def forget(self, durable: str, message_id: str) -> None:
        """Forget the trials of a message, so that a redrive begins anew."""

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of some of what nobody will ask for: old, and gone from the stream.

        That is what was handled before a moment and stood before a place in the stream, and
        trials from before that moment. Returns of how many messages; 0: there is nothing more to
        do now. Whoever calls it again and again, from wherever, does no harm.
        """

    @property
    def is_kept(self) -> bool:
        """Whether what was handled can be told afterwards."""

    def accounted(self, durable: str, first: int, last: int) -> AsyncIterator[Handled]:
        """Yield what a durable handled at these places in the stream, in order; no replies.

        It is not one moment's picture: what is handled meanwhile may be missing.
        """


@dataclass(slots=True)
class MemoryInbox:
    """An inbox that ends with its process: for tests."""

    rows: dict[tuple[str, str], Handled] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)

    @asynccontextmanager
    async def transaction(self, durable: str) -> AsyncIterator[Transaction]:
        """Begin; what was recorded becomes visible when the context ends well."""
        transaction = MemoryTransaction(durable, self.rows)
        yield transaction
        if raced := transaction.recorded.keys() & self.rows.keys():
            raise Raced(f"another transaction has handled {min(raced)} meanwhile")
        self.rows.update(transaction.recorded)

    async def trouble(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return how often each has failed."""
        return {i: Trials(self.failures[durable, i]) for i in message_ids}

    async def begun(self, durable: str, message_id: str, attempt: int) -> Trials:
        """Return the failures so far. A process that dies takes this inbox with it: no kills."""
        return Trials(self.failures[durable, message_id])

    async def failed(
        self, durable: str, message_ids: Sequence[str], attempt: int
    ) -> Sequence[int]:
        """Take note that these failed together; return how often each has failed now."""
        keys = [(durable, message_id) for message_id in message_ids]
        self.failures.update(set(keys))
        return [self.failures[key] for key in keys]

    async def released(self, durable: str, message_ids: Sequence[str]) -> None:
        """Do nothing: no trial is on record."""

    async def forget(self, durable: str, message_id: str) -> None:
        """Forget the trials of a message, so that a redrive begins anew."""
        del self.failures[durable, message_id]

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of nothing: it all ends with the process."""
        return 0

    @property
    def is_kept(self) -> bool:
        """Yes, as long as the process."""
        return True

    async def accounted(self, durable: str, first: int, last: int) -> AsyncIterator[Handled]:
        """Yield what a durable handled at these places in the stream, in order; no replies."""
        rows = [row for (of, _), row in self.rows.items() if of == durable]
        for row in sorted(rows, key=lambda row: row.sequence):
            if first <= row.sequence <= last:
                yield row.answered(())


@dataclass(frozen=True, slots=True)
class MemoryTransaction:
    """One transaction of a MemoryInbox."""

    durable: str
    rows: Mapping[tuple[str, str], Handled]
    recorded: dict[tuple[str, str], Handled] = field(default_factory=dict)

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Handled]:
        """Return those of the messages that have been handled, by id."""
        return {i: row for i in message_ids if (row := self.rows.get((self.durable, i)))}

    async def record(self, handled: Sequence[Handled]) -> None:
        """Say that these are handled. Raises Raced if another worker has said so of one."""
        for row in handled:
            if (self.durable, row.message_id) in self.rows:
                raise Raced(f"{self.durable} has handled {row.message_id} meanwhile")
            self.recorded[self.durable, row.message_id] = row


@dataclass(frozen=True, slots=True)
class NoInbox:
    """Remembers nothing: for services to which handling twice does no harm.

    It has only the broker's delivery count to go by, so it cannot tell a message that kills its
    process from a process that was killed, and tries such a message for ever.
    """

    @asynccontextmanager
    async def transaction(self, durable: str) -> AsyncIterator[Transaction]:
        """Begin; nothing will be known of it afterwards."""
        yield MemoryTransaction(durable, {})

    async def trouble(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return nothing: no trial is on record."""
        return {}

    async def begun(self, durable: str, message_id: str, attempt: int) -> Trials:
        """Return what the broker's count says."""
        return Trials(attempt - 1)

    async def failed(
        self, durable: str, message_ids: Sequence[str], attempt: int
    ) -> Sequence[int]:
        """Return what the broker's count says."""
        return [attempt for _ in message_ids]

    async def released(self, durable: str, message_ids: Sequence[str]) -> None:
        """Do nothing: no trial is on record."""

    async def forget(self, durable: str, message_id: str) -> None:
        """Do nothing: no trial is on record."""

    async def purge(self, durable: str, first: int, before: datetime) -> int:
        """Let go of nothing: nothing is kept."""
        return 0

    @property
    def is_kept(self) -> bool:
        """No: what it settled cannot be told from what it lost."""
        return False

    async def accounted(self, durable: str, first: int, last: int) -> AsyncIterator[Handled]:
        """Yield nothing."""
        return
        yield
