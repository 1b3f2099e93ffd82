"""Laying streams, durables, records, rows and dead letters side by side: pure, no I/O.

The order in which they were looked at makes it right while messages flow (see `auditing`): what a
durable had settled *before* its service was asked must be recorded; what a service told is in the
stream, which is read *after*.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.message import DecodeError, Message

from seaway.audit.conversations import Conversations, Stray
from seaway.audit.difference import Difference, Kind, Report
from seaway.audit.durable_account import DurableAccount, Identity, Item, identities
from seaway.audit.rows import RowsAccount
from seaway.audit.telling import fingerprint
from seaway.audit.told import DurableTold, Told
from seaway.broker import Stored
from seaway.contract import Address, address_of
from seaway.dead_letters import Discarded, Letter
from seaway.topology.backbone import Durable
from seaway.topology.durable_spec import OWNER

type Types = Mapping[str, type[Message]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One stream's surroundings, as they were before its messages were read."""

    stream: str
    types: Types
    """The contracts, by full name."""
    durables: Mapping[str, Durable]
    told: Sequence[Told]
    letters: Sequence[Letter] = ()
    thrown_away: Sequence[Discarded] = ()
    until: int = 2**63
    """The stream's last message when the durables were looked at."""
    kept_from: int = 1
    """Messages before this have gone, or were not to be read."""
    rows_since: datetime | None = None
    """What is older was not asked for; None: everything was."""


@dataclass(slots=True)
class Reconciliation:
    """Takes in the messages of one stream, in order; then reports what does not add up."""

    scene: Scene
    accounts: dict[str, DurableAccount] = field(init=False)
    conversations: dict[str, Conversations] = field(init=False)
    """By the full name of the command."""
    rows: list[RowsAccount] = field(init=False)
    messages: int = 0
    kept_from: int = field(init=False)
    letters: Sequence[Letter] = field(init=False)
    _addresses: dict[str, Address] = field(init=False)
    _listeners: dict[str, list[DurableAccount]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the books."""
        self.kept_from = self.scene.kept_from
        self.letters = self.scene.letters
        types = self.scene.types.values()
        addresses = [a for a in map(address_of, types) if a.stream.name == self.scene.stream]
        self._addresses = {address.subject: address for address in addresses}
        self.accounts = dict(_accounts(self.scene))
        self.conversations = {
            a.message: Conversations(a, outcomes, self.listeners)
            for a in addresses
            if (outcomes := [o for o in addresses if o.outcome_of == a.message])
        }
        self.rows = list(self._rows())

    def listeners(self, subject: str) -> list[DurableAccount]:
        """Return the accounts of the durables that are given messages on a subject."""
        # A durable's filter does not look at the key, so all keys have the same listeners.
        prefix = subject.rpartition(".")[0]
        if prefix not in self._listeners:
            found = [a for a in self.accounts.values() if a.listens_to(subject)]
            self._listeners[prefix] = found
        return self._listeners[prefix]

    def take(self, stored: Stored) -> None:
        """Take in the next message."""
        self.messages += 1
        identity = Identity.of(stored.headers, stored.data)
        for account in self.listeners(stored.subject):
            account.take(stored, identity)
        prefix, _, key = stored.subject.rpartition(".")
        if address := self._addresses.get(prefix):
            self._converse(address, key, stored, Item(stored.sequence, identity))

    def also_aside(self, letters: Sequence[Letter], thrown_away: Sequence[Discarded]) -> None:
        """Take in what is set aside now, which may be other letters than at the beginning."""
        self.letters = letters
        aside = identities(letters, thrown_away)
        for account in self.accounts.values():
            account.set_aside |= aside.get(account.name, frozenset())

    def has_gone_before(self, sequence: int) -> None:
        """Take note that messages before this have aged out meanwhile."""
        self.kept_from = max(self.kept_from, sequence)

    def doubtful(self) -> set[str]:
        """Return subjects of which `report` has to know whether a message is stored there."""
        subjects = {
            conversation.command.subject_for(key)
            for conversation in self.conversations.values()
            for key in conversation.strays
        }
        return subjects | {a.event.subject_for(key) for a in self.rows for key in a.unseen}

    def report(self, earlier: Set[str] = frozenset()) -> Report:
        """Return what came of it; `earlier` are those of the doubtful that are stored."""
        accounts, conversations = self.accounts.values(), self.conversations.values()
        pending = {account.name: account.pending for account in accounts}
        if unheard := sum(conversation.unheard for conversation in conversations):
            pending[""] = unheard
        return Report(
            differences=tuple(sorted(self._differences(earlier), key=_place)),
            letters=tuple(x for x in self.letters if x.durable in self.accounts),
            accepted=sum(conversation.accepted for conversation in conversations),
            outcomes=sum(conversation.answered for conversation in conversations),
            messages=self.messages,
            pending=pending,
            forgotten={name: count for name, count in self._forgotten() if count},
            unrecorded=tuple(a.name for a in accounts if not a.told.is_kept),
        )

    def _forgotten(self) -> Iterator[tuple[str, int]]:
        for account in self.accounts.values():
            yield account.name, len(account.forgotten)
        for rows in self.rows:
            if not rows.accounts:  # otherwise its messages are counted
                yield rows.service, rows.forgotten

    def _converse(self, address: Address, key: str, stored: Stored, item: Item) -> None:
        if conversation := self.conversations.get(address.message):
            conversation.request(key, item)
        if conversation := self.conversations.get(address.outcome_of):
            cause = stored.headers.get("ce-causationid", "")
            conversation.outcome(
                key, item.identity.id, Stray(item.sequence, stored.subject, cause)
            )
        for account in self.rows:
            if account.event is address:
                with suppress(DecodeError):
                    body = self.scene.types[address.message].FromString(stored.data)
                    account.take(key, fingerprint(body), item, _said_at(stored))

    def _rows(self) -> Iterator[RowsAccount]:
        by_name = {address.message: address for address in self._addresses.values()}
        for told in self.scene.told:
            for type_, rows in told.rows.items():
                if event := by_name.get(type_):
                    given = self.listeners(event.subject_for("x"))
                    own = [account for account in given if account.name in told.durables]
                    doubled = {key for of, key in told.second_rows if of == type_}
                    since = self.scene.rows_since
                    yield RowsAccount(told.service, event, rows, doubled, since, own)

    def _differences(self, earlier: Set[str]) -> Iterator[Difference]:
        for account in self.accounts.values():
            yield from account.differences(self.kept_from)
        for conversation in self.conversations.values():
            yield from conversation.differences(earlier, self.kept_from)
        for rows in self.rows:
            command = self.conversations.get(rows.event.outcome_of)
            excused = command.explains if command else _never
            yield from rows.differences(self.scene.until, excused, earlier)
        yield from _second_rows(self.scene)
        yield from _strangers(self.scene)


def reconcile(scene: Scene, messages: Iterable[Stored]) -> Report:
    """Return what does not add up in one stream, given all that it keeps."""
    reconciliation = Reconciliation(scene)
    for stored in messages:
        reconciliation.take(stored)
    return reconciliation.report()


def _accounts(scene: Scene) -> Iterator[tuple[str, DurableAccount]]:
    aside = identities(scene.letters, scene.thrown_away)
    for name, told in _claims(scene).items():
        if found := scene.durables.get(name):
            own = aside.get(name, frozenset())
            yield name, DurableAccount(scene.stream, name, found, told, own)


def _claims(scene: Scene) -> dict[str, DurableTold]:
    """Return what is known of each durable that belongs to a service, whether it tells or not."""
    silent = {told.service for told in scene.told if not told.tells}
    claims = {
        name: DurableTold("beginning", is_kept=False)
        for name, durable in scene.durables.items()
        if durable.config.get("metadata", {}).get(OWNER) in silent
    }
    for told in scene.told:
        claims |= told.durables
    return claims


def _strangers(scene: Scene) -> Iterator[Difference]:
    """Yield durables that no service answers for, and services whose durable is not there."""
    claims = _claims(scene)
    for name in scene.durables.keys() - claims.keys():
        text = f"durable {name} belongs to no service that was asked"
        yield Difference(Kind.NO_SERVICE, scene.stream, name, "", 0, text)
    for told in scene.told:
        for name in told.durables.keys() - scene.durables.keys():
            text = f"{told.service} listens through {name}, which the broker does not have"
            yield Difference(Kind.NO_DURABLE, scene.stream, name, "", 0, text)


def _second_rows(scene: Scene) -> Iterator[Difference]:
    for told in scene.told:
        for type_, key in told.second_rows:
            text = f"{told.service} has more than one row {key} for one {type_}"
            yield Difference(Kind.SECOND_ROW, scene.stream, told.service, key, 0, text)


def _said_at(stored: Stored) -> datetime:
    """Return when the service said it, by its own clock, as it timed its row."""
    try:
        said = datetime.fromisoformat(stored.headers["ce-time"])
    except (KeyError, ValueError):
        return stored.at
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _never(key: str) -> bool:
    return False


def _place(difference: Difference) -> tuple[int, str, str]:
    return (difference.sequence, difference.kind, difference.key)
