"""Letting go of records of messages that have long gone from the stream.

An inbox keeps replies, and so personal data. What the stream has forgotten for a week nobody can
deliver, replay or redrive any more, and nobody will ask whether it was handled.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from seaway.errors import BrokerUnavailable, DependencyDown, Raced
from seaway.fetching import told
from seaway.outcome import spread
from seaway.service import Service, Subscription
from seaway.telemetry import PURGED, labels_of
from seaway.topology import FoundStream

log = structlog.get_logger("seaway.process")

KEPT_BEYOND = timedelta(days=7)
"""How much longer than the stream keeps a message we keep that it was handled."""
EVERY = 3600.0
"""Seconds between two rounds."""
PAUSE = 0.2
"""Seconds between two transactions, in which others have the database to themselves."""


class Streams(Protocol):
    """Who knows what the streams still keep."""

    async def streams(self) -> Mapping[str, FoundStream]:
        """Return each stream, by name. Raises BrokerUnavailable."""


async def keep_purging(
    streams: Streams, service: Service, stopping: asyncio.Event, every: float = EVERY
) -> None:
    """Purge what each subscription has on record, now and every hour, until told to stop.

    Nothing else waits for it. What cannot be done now is done an hour later.
    """
    while not stopping.is_set():
        for subscription in service.subscriptions:
            try:
                await purge(streams, service, subscription, stopping)
            except (BrokerUnavailable, DependencyDown, Raced) as error:
                log.warning("not purged", durable=subscription.durable, error=str(error))
        await told(stopping, within=spread(every))


async def purge(
    streams: Streams, service: Service, subscription: Subscription, stopping: asyncio.Event
) -> None:
    """Let go of what the stream has not kept for a week, a little at a time.

    Both the clock and the stream have to say so: a stream that keeps its messages for longer
    than was declared, or a clock that is wrong, loses nothing. Raises BrokerUnavailable,
    DependencyDown and Raced.
    """
    stream, durable, purged = subscription.stream, subscription.durable, 0
    found = (await streams.streams()).get(stream.name)
    if stream.max_age is None or found is None or found.first <= 1:
        return
    before = datetime.now(UTC) - timedelta(seconds=stream.max_age) - KEPT_BEYOND
    try:
        while some := await service.inbox.purge(durable, found.first, before):
            purged += some
            PURGED.labels(*labels_of(subscription)).inc(some)
            if await told(stopping, within=PAUSE):
                return
    finally:
        if purged:
            log.info("purged", durable=durable, messages=purged)
