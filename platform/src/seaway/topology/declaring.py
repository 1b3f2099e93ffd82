"""What the contracts and the services ask for: streams and durables in the broker's own words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from seaway.contract import Stream
from seaway.errors import TopologyError
from seaway.service import Subscription
from seaway.topology.backbone import Config
from seaway.topology.durable_spec import DurableSpec

LIVE = "live"
"""What is stored on `users.v1.x.k` is told on `live.users.v1.x.k`."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything that some services need of the broker."""

    streams: Mapping[str, Config]
    durables: Mapping[tuple[str, str], Config]
    """By stream and name."""
    services: frozenset[str]
    """Those whose durables these are: all of them."""
    recorded: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    """By stream and name, of durables that start "now": the first place on record of one that was
    there before. None: whether it was is for its service to say, and that was not asked."""

    def only_adding(self) -> "Topology":
        """Return it without the claim that these are all durables: nothing is deleted."""
        return replace(self, services=frozenset())


def declared(
    streams: Iterable[Stream],
    subscriptions: Iterable[Subscription | DurableSpec],
    replicas: int = 1,
    services: Iterable[str] = (),
) -> Topology:
    """Return what the contracts and the services ask for.

    `services` names those that listen to nothing (any more): their durables are deleted. Raises
    TopologyError if two declarations of one name differ.
    """
    wanted = list(subscriptions)
    specs = [s if isinstance(s, DurableSpec) else DurableSpec.of(s) for s in wanted]
    known = [*streams, *(s.stream for s in wanted if isinstance(s, Subscription))]
    return Topology(
        streams=_unique((s.name, stream_config(s, replicas)) for s in known),
        durables=_unique(((s.stream, s.name), s.config()) for s in specs),
        services=frozenset(services) | {s.service for s in specs},
    )


def stream_config(stream: Stream, replicas: int = 1) -> Config:
    """Return a stream as JetStream's API wants it.

    Nothing that is stored goes away but by age: a full stream refuses, and nobody rolls it up.
    What the broker can be told once and never takes back is not asked for, or one mistake would
    keep every service from being ready for good.
    """
    window = {"duplicate_window": _nanoseconds(stream.duplicate_window)}
    return {
        "name": stream.name,
        "subjects": [stream.subjects],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "discard_new_per_subject": stream.once_per_key,
        "max_msgs_per_subject": 1 if stream.once_per_key else -1,
        "max_age": _nanoseconds(stream.max_age),
        "max_bytes": stream.max_bytes or -1,
        "max_msgs": -1,
        "max_msg_size": stream.max_message_bytes,
        "max_consumers": -1,
        "republish": {"src": stream.subjects, "dest": f"{LIVE}.{stream.subjects}"},
        "allow_direct": True,
        "allow_atomic": True,
        "allow_rollup_hdrs": False,
        "no_ack": False,
        "sealed": False,
        "persist_mode": "default",
        "num_replicas": replicas,
    } | (window if stream.duplicate_window else {})


def _unique[K](entries: Iterable[tuple[K, Config]]) -> dict[K, Config]:
    unique: dict[K, Config] = {}
    for key, config in entries:
        if unique.setdefault(key, config) != config:
            raise TopologyError(f"{key} is declared twice, and differently")
    return unique


def _nanoseconds(seconds: float | None) -> int:
    return round(seconds * 1e9) if seconds else 0
