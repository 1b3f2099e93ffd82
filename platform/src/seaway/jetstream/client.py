"""nats-py's client, and what it does in another way here.

If another version of it has other names for this, it does as it always did.
"""

import asyncio
from typing import override

from nats.aio.client import Client

from seaway.jetstream.headers import read


class OurClient(Client):
    """The client, which reads headers all at once, and outlives a late answer to a ping."""

    @staticmethod
    @override
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        return read(raw) or Client._parse_header_lines(raw)

    @override
    async def _process_pong(self) -> None:
        # One for which nobody waits any more would end its read loop.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()
