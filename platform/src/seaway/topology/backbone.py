"""The port to the broker's administration: its streams and durables, seen and changed.

`seaway.jetstream` fulfils it, and so does `seaway.testing.MemoryBroker`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

BEGINNING = datetime.min.replace(tzinfo=UTC)

type Config = Mapping[str, Any]
"""With the field names of JetStream's API, durations in nanoseconds."""


@dataclass(frozen=True, slots=True)
class FoundStream:
    """A stream as the broker has it."""

    config: Config
    bytes: int
    """How much it keeps."""
    oldest: datetime | None
    """When its first message was stored. None: it is empty."""
    first: int = 1
    """The place of its first message; what was before it has gone."""
    last: int = 0
    """The place of its last message."""
    created: datetime = BEGINNING
    """When it was made, by the broker's clock. One that was deleted and made again is another."""
    messages: int = 0
    """How many it keeps."""


@dataclass(frozen=True, slots=True)
class Durable:
    """A durable as the broker has it."""

    config: Config
    pending: int
    """Messages that were never delivered through it."""
    ack_pending: int
    """Messages that were delivered and not settled."""
    ack_floor: int
    """Everything up to this place in the stream is settled."""
    delivered: int
    """The last place in the stream that was delivered."""

    def has_settled(self, sequence: int) -> bool:
        """Whether it is known that this message, one of its own, is done with.

        While others are in hand that came before it, nobody can tell.
        """
        all_of_them = self.ack_pending == 0 and self.delivered >= sequence
        return all_of_them or self.ack_floor >= sequence

    created: datetime = BEGINNING
    """When it was made, by the broker's clock."""
    deliveries: int = 0
    """How often it has delivered a message, each time counted. Only a real broker tells this …"""
    redelivered: int = 0
    """… and how many of the unsettled were delivered more than once …"""
    pulls: int = 0
    """… and how many fetches wait for a message …"""
    seen_at: datetime = field(default=BEGINNING, compare=False)
    """… and when all of this was so, by its own clock. Two that differ only in this are equal."""


class Backbone(Protocol):
    """What it takes to look at a broker's streams and durables, and to change them."""

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name. Raises BrokerUnavailable."""

    async def durables(self, stream: str) -> Mapping[str, Durable]:
        """Return the durables of a stream, by name. Raises BrokerUnavailable."""

    async def put_stream(self, config: Config) -> None:
        """Create a stream, or give it this configuration. Raises TopologyError."""

    async def put_durable(self, stream: str, config: Config) -> None:
        """Create a durable, or give it this configuration. Raises TopologyError."""

    async def rewind_durable(self, stream: str, name: str, sequence: int) -> None:
        """Have a durable go on from this place in the stream, whoever is using it meanwhile.

        What it has delivered from there on it delivers again, as if for the first time. Raises
        TopologyError if it is not there, or began later than that.
        """

    async def delete_durable(self, stream: str, name: str) -> None:
        """Delete a durable, and with it how far it had come. Raises TopologyError."""
