"""What a service's `build` is given."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Any

from seaway.contract import address_of, installed_types
from seaway.dead_letters import DEAD
from seaway.health import Health
from seaway.jetstream import JetStream
from seaway.service import Service
from seaway.settings import Settings
from seaway.topology import Topology, declared


class Process:
    """What a service's `build` may use of the process that it will run in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.health = Health()
        self.contexts: list[AbstractAsyncContextManager[Any]] = []
        self.preparations: list[Callable[[], Awaitable[None]]] = []
        self.needs_streams = True
        """Whether it can work only while the contracts' streams are as they are declared."""
        self._settings: Settings | None = None

    def settings[S: Settings](self, kind: type[S]) -> S:
        """Read this service's settings. A mistake in them ends the process with exit code 78."""
        settings = kind.from_environment()
        self._settings = settings
        return settings

    @property
    def basics(self) -> Settings:
        """The settings that every process has."""
        return self._settings or self.settings(Settings)

    @cached_property
    def broker(self) -> JetStream:
        """The process's one connection. It is made in the background, and made again."""
        basics = self.basics
        return JetStream(basics.nats_url, self.name, basics.nats_credentials_file)

    def during[C: AbstractAsyncContextManager[Any]](self, context: C) -> C:
        """Have this open while the service runs: opened before it begins, closed after the drain.

        The last one opened is the first one closed.
        """
        self.contexts.append(context)
        return context

    def before(self, preparation: Callable[[], Awaitable[None]]) -> None:
        """Have `prepare` do this, such as migrations. It must be safe to do twice, and at once."""
        self.preparations.append(preparation)

    def ready_when(self, name: str, check: Callable[[], Awaitable[bool]]) -> None:
        """Be ready only while `check` says so. It is asked at each probe, for 2 s at most."""

        async def ask() -> str:
            return "" if await check() else "not ready"

        self.health.ready[name] = ask

    def topology(self, service: Service) -> Topology:
        """Return what the broker must have: the contracts' streams, this service's durables."""
        streams = {DEAD, *(address_of(t).stream for t in installed_types().values())}
        needed = streams if self.needs_streams else ()
        return declared(needed, service.subscriptions, self.basics.replicas, [service.name])
