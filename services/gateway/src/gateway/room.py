"""How full the stream is. The last fifth is for outcomes, or a full stream could never drain."""

import asyncio
from contextlib import suppress
from typing import Self

from seaway.contract import Stream
from seaway.errors import BrokerUnavailable
from seaway.topology import Backbone

FOR_REQUESTS = 0.8
LOOK_EVERY = 2.0


class Room:
    """Knows whether a stream has room for requests, as of two seconds ago."""

    def __init__(self, backbone: Backbone, stream: Stream) -> None:
        self._backbone = backbone
        self._stream = stream.name
        self._full = False

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    def is_full(self) -> bool:
        """Whether requests have had their share. While nobody can say, as it was."""
        return self._full

    async def look(self) -> None:
        """Look now. If the broker is away, it stays as it was."""
        with suppress(BrokerUnavailable):
            found = (await self._backbone.streams()).get(self._stream)
            if found is not None and (limit := found.config.get("max_bytes", -1)) > 0:
                self._full = found.bytes >= FOR_REQUESTS * limit

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)
