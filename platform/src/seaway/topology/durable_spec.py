"""What one service needs of one durable, in a form that travels between processes as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from seaway.contract import installed_types
from seaway.envelope import Envelope
from seaway.errors import TopologyError
from seaway.service import Service, Start, Subscription
from seaway.topology.backbone import Config

OWNER = "seaway.service"
"""The metadata of a durable that says which service it belongs to."""


@dataclass(frozen=True, slots=True)
class DurableSpec:
    """A durable as a service asks for it."""

    name: str
    service: str
    stream: str
    filter_subjects: tuple[str, ...]
    start: Start
    """Where it starts when it is made for the first time."""
    ack_wait: float
    """Seconds."""
    max_ack_pending: int

    @classmethod
    def of(cls, subscription: Subscription) -> Self:
        """Return the durable behind a subscription."""
        return cls(
            name=subscription.durable,
            service=subscription.service,
            stream=subscription.stream.name,
            filter_subjects=subscription.subjects,
            start=subscription.start,
            ack_wait=subscription.ack_wait,
            max_ack_pending=subscription.max_ack_pending,
        )

    @classmethod
    def elsewhere(cls, service: str, message: str, start: Start = "beginning") -> Self:
        """Return the durable of a service in another language.

        It is the one that the service would have here. Raises TopologyError if no installed
        contract has the message, which is given by its full name.
        """
        type_ = installed_types().get(message)
        if type_ is None:
            raise TopologyError(f"{service} listens to {message}, which no contract declares")
        twin = Service(service)

        @twin.on(type_, start=start)
        async def never_called(_: Envelope[Any]) -> None: ...

        return cls.of(twin.subscriptions[0])

    @classmethod
    def of_all(cls, service: str, stream: str) -> Self:
        """Return the durable of a service that takes every message of a stream.

        Raises ContractError if no installed contract has the stream.
        """
        twin = Service(service)

        @twin.on_stream(stream)
        async def never_called(_: Sequence[Envelope[Any]]) -> Any: ...

        return cls.of(twin.subscriptions[0])

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave. Raises TopologyError if it is something else."""
        match entry:
            case {
                "name": str(name),
                "service": str(service),
                "stream": str(stream),
                "filter_subjects": [str(), *_] as subjects,
                "start": "beginning" | "now" as start,
                "ack_wait": float() | int() as ack_wait,
                "max_ack_pending": int(most),
            }:
                return cls(name, service, stream, tuple(subjects), start, float(ack_wait), most)
        raise TopologyError(f"not the durable of a subscription: {dict(entry)}")

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "name": self.name,
            "service": self.service,
            "stream": self.stream,
            "filter_subjects": list(self.filter_subjects),
            "start": self.start,
            "ack_wait": self.ack_wait,
            "max_ack_pending": self.max_ack_pending,
        }

    def config(self) -> dict[str, Any]:
        """Return it as JetStream's API wants it.

        It never gives up, never forgets and never goes away by itself: what becomes of a
        message is for the service to decide.
        """
        return {
            "durable_name": self.name,
            "filter_subjects": list(self.filter_subjects),
            "deliver_policy": "all" if self.start == "beginning" else "new",
            "replay_policy": "instant",
            "ack_policy": "explicit",
            "ack_wait": round(self.ack_wait * 1e9),
            "backoff": [],
            "max_deliver": -1,
            "max_ack_pending": self.max_ack_pending,
            "inactive_threshold": 0,
            "headers_only": False,
            "mem_storage": False,
            "metadata": {OWNER: self.service},
        }


def begun(config: Config, last: int | None, recorded: int | None = None) -> Config:
    """Return a new durable's configuration, with "now" as the place after the last, if known.

    If its service has handled something under its name, it was there before, and begins where
    that record begins: what waited for it is given to it, and the inbox knows the rest.

    The broker winds a durable back to any place after the one where it began, but never one that
    it was told to begin with what is new.
    """
    if config["deliver_policy"] == "all" or last is None:
        return config
    start = last + 1 if recorded is None else min(recorded, last + 1)
    return {**config, "deliver_policy": "by_start_sequence", "opt_start_seq": start}
