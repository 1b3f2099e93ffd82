"""Whether one more request is admitted: the stream has room, and little waits before it."""

import asyncio
from contextlib import suppress
from typing import Self

from google.protobuf.message import Message
from seaway.contract import address_of, installed_types
from seaway.errors import BrokerUnavailable
from seaway.rpc import Refusal, unavailable
from seaway.rpc.call import FULL
from seaway.topology import Backbone, Durable
from seaway.topology.rules import filters

from gateway.backlog import Backlog

FOR_REQUESTS = 0.8
"""The share of the stream; the rest is for outcomes, or a full one could never drain."""
LOOK_EVERY = 2.0
BEHIND = "those before you wait to be handled: try again later"


class Admission:
    """Knows whether a command's stream has room, and how long commands wait, as of 2 s ago.

    It sees settings and counts, and no message. `longest` is in seconds; 0: however long.
    """

    def __init__(
        self, backbone: Backbone, command: type[Message], *, longest: float = 60.0
    ) -> None:
        self._backbone = backbone
        self._commands = address_of(command).every_key
        self._stream = address_of(command).stream.name
        self._longest = longest
        self._full = False
        self._backlogs: dict[str, Backlog] = {}
        self._nobodys = Backlog()

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    @property
    def backlog(self) -> Backlog:
        """The one that is waited in least: of several who listen, it may be the owner's."""
        return min(self._backlogs.values(), key=lambda each: each.age, default=self._nobodys)

    def refusal(self) -> Refusal | None:
        """Return what to say to one more request; None: it is welcome."""
        if self._full:
            return FULL
        if 0 < self._longest < self.backlog.age:
            return unavailable("BACKLOG", BEHIND, self.backlog.clears_in)
        return None

    async def look(self) -> None:
        """Look now. If the broker is away, it stays as it was."""
        with suppress(BrokerUnavailable):
            found = (await self._backbone.streams()).get(self._stream)
            if found is None:
                return
            limit = found.config.get("max_bytes", -1)
            self._full = limit > 0 and found.bytes >= FOR_REQUESTS * limit
            durables = (await self._backbone.durables(self._stream)).items()
            listening = {name: each for name, each in durables if self._is_handled_by(each)}
            self._backlogs = {n: self._backlogs.get(n) or Backlog() for n in listening}
            for name, durable in listening.items():
                self._backlogs[name].note(durable, asyncio.get_running_loop().time())

    def _is_handled_by(self, durable: Durable) -> bool:
        """Whether a durable hands over these commands, and nothing else that is said."""
        known = {address_of(type_).every_key for type_ in installed_types().values()}
        return known.intersection(filters(durable.config)) == {self._commands}

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)
