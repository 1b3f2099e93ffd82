"""What the broker has, beside what is declared: what differs, what to do, and doing it.

Everything that we set is compared, always: the broker accepts an update that takes a guard away,
and says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from seaway.errors import TopologyError
from seaway.topology.backbone import Backbone, Config, Durable, FoundStream
from seaway.topology.declaring import Topology
from seaway.topology.durable_spec import OWNER, begun
from seaway.topology.rules import dangers_of, differences, removal_dangers


@dataclass(frozen=True, slots=True)
class Found:
    """What the broker has, as far as it concerns a topology."""

    streams: Mapping[str, FoundStream]
    durables: Mapping[tuple[str, str], Durable]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do to the broker."""

    sentence: str
    """What it does, with the values."""
    dangers: tuple[str, ...]
    """Why it is unsafe; empty if it is not."""
    stream: str
    durable: str
    """Empty: it changes the stream itself."""
    config: Config | None
    """What to put there. None: delete the durable."""

    @property
    def is_unsafe(self) -> bool:
        """Whether something that cannot be had back may be lost."""
        return bool(self.dangers)


async def survey(backbone: Backbone, topology: Topology) -> Found:
    """Look at what the broker has of the topology's streams. Raises BrokerUnavailable."""
    streams = await backbone.streams()
    ours = {name: found for name, found in streams.items() if name in topology.streams}
    return Found(
        streams=ours,
        durables={
            (stream, name): durable
            for stream in ours
            for name, durable in (await backbone.durables(stream)).items()
        },
    )


def plan(topology: Topology, found: Found, now: datetime | None = None) -> list[Change]:
    """Return what to do so that the broker has what is declared, streams first.

    A durable that belongs to one of the services and that none of them declares is deleted.
    Where a durable starts cannot be changed, and is no difference.
    """
    now = now or datetime.now(UTC)
    changes = [
        _put_stream(want, found.streams.get(name), now) for name, want in topology.streams.items()
    ]
    lasts = {s: found.streams[s].last if s in found.streams else 0 for s in topology.streams}
    changes += [
        _create_durable(key, want, lasts.get(key[0]), topology.recorded)
        if (durable := found.durables.get(key)) is None
        else _update_durable(key, want, durable)
        for key, want in topology.durables.items()
    ]
    changes += [
        _delete_durable(stream, name, durable)
        for (stream, name), durable in _undeclared(topology, found)
        if _is_owned(name, durable, topology.services)
    ]
    return [change for change in changes if change is not None]


def beginning_now(topology: Topology, found: Found) -> list[tuple[str, str]]:
    """Return, by stream and name, what would be made and begin after messages that are there."""
    return [
        (stream, name)
        for (stream, name), want in topology.durables.items()
        if want["deliver_policy"] == "new" and (stream, name) not in found.durables
        if stream in found.streams and found.streams[stream].last
    ]


def unowned(topology: Topology, found: Found) -> list[str]:
    """Return one sentence for each durable on our streams that no given service owns."""
    return [
        f"durable {name} of stream {stream} belongs to none of the services: left alone"
        for (stream, name), durable in _undeclared(topology, found)
        if not _is_owned(name, durable, topology.services)
    ]


async def apply(
    backbone: Backbone, topology: Topology, *, allow_unsafe: bool = False
) -> list[Change]:
    """Make the broker have what is declared; return what was done, which may be nothing.

    Raises TopologyError that names every unsafe change, before anything is changed, unless
    unsafe changes are allowed; and if the broker refuses. Raises BrokerUnavailable.
    """
    changes = plan(topology, await survey(backbone, topology))
    unsafe = [f"- {c.sentence}: {'; '.join(c.dangers)}" for c in changes if c.is_unsafe]
    if unsafe and not allow_unsafe:
        raise TopologyError("\n".join(["unsafe, so nothing was changed:", *unsafe]))
    for change in changes:
        if change.config is None:
            await backbone.delete_durable(change.stream, change.durable)
        elif change.durable:
            await backbone.put_durable(change.stream, change.config)
        else:
            await backbone.put_stream(change.config)
    return changes


async def drift(backbone: Backbone, topology: Topology) -> list[str]:
    """Return one sentence for each declared setting that the broker no longer has.

    Empty: everything is as declared. Raises BrokerUnavailable.
    """
    found = await survey(backbone, topology)
    sentences: list[str] = []
    for name, want in topology.streams.items():
        sentences += _drifted(f"stream {name}", want, found.streams.get(name))
    for (stream, name), want in topology.durables.items():
        sentences += _drifted(
            f"durable {name} of stream {stream}", want, found.durables.get((stream, name))
        )
    return sentences


def _drifted(what: str, want: Config, found: FoundStream | Durable | None) -> Sequence[str]:
    if found is None:
        return [f"{what} does not exist"]
    return [f"{what}: {d.now_is()}" for d in differences(want, found.config)]


def _put_stream(want: Config, found: FoundStream | None, now: datetime) -> Change | None:
    name = want["name"]
    if found is None:
        kept = f"on {', '.join(want['subjects'])}, copies: {want['num_replicas']}"
        return Change(f"create stream {name} {kept}", (), name, "", want)
    changed = differences(want, found.config)
    if not changed:
        return None
    sentence = f"update stream {name}: {', '.join(d.becomes() for d in changed)}"
    age = (now - found.oldest).total_seconds() if found.oldest else 0.0
    dangers = dangers_of(changed, kept_bytes=found.bytes, kept_seconds=age)
    return Change(sentence, dangers, name, "", _merged(found.config, want))


def _merged(found: Config, want: Config) -> Config:
    """Return what is wanted; what we do not declare stays as it was found."""
    merged = {**found, **want}
    if 0 < merged["max_age"] < merged.get("duplicate_window", 0):
        merged["duplicate_window"] = merged["max_age"]  # the broker refuses a longer one
    return merged


def _create_durable(
    key: tuple[str, str],
    want: Config,
    last: int | None,
    recorded: Mapping[tuple[str, str], int | None],
) -> Change:
    stream, name = key
    config = begun(want, last, recorded.get(key))
    start = "the beginning" if want["deliver_policy"] == "all" else "now"
    dangers: tuple[str, ...] = ()
    if recorded.get(key) is not None:
        start = f"#{config['opt_start_seq']}, where its service's record begins,"
    elif key in recorded and last:
        service = want["metadata"][OWNER]
        dangers = (
            f"if it was there before, what waited for it up to #{last} would never be handled; "
            f"{service}'s own `prepare` knows, and begins where its record does",
        )
    filters = ", ".join(want["filter_subjects"])
    sentence = f"create durable {name} of stream {stream} from {start} on {filters}"
    return Change(sentence, dangers, stream, name, config)


def _update_durable(key: tuple[str, str], want: Config, found: Durable) -> Change | None:
    stream, name = key
    what = f"durable {name} of stream {stream}"
    changed = differences(want, found.config)
    if not changed:
        return None
    sentence = f"update {what}: {', '.join(d.becomes() for d in changed)}"
    dangers = dangers_of(changed, pending=found.pending + found.ack_pending)
    metadata = {**found.config.get("metadata", {}), **want["metadata"]}
    config = {**found.config, **want, "metadata": metadata}
    config["deliver_policy"] = found.config.get("deliver_policy", "all")
    config.pop("filter_subject", None)
    return Change(sentence, dangers, stream, name, config)


def _delete_durable(stream: str, name: str, found: Durable) -> Change:
    sentence = f"delete durable {name} of stream {stream}: its service no longer listens"
    return Change(sentence, removal_dangers(found.pending + found.ack_pending), stream, name, None)


def _undeclared(topology: Topology, found: Found) -> Iterator[tuple[tuple[str, str], Durable]]:
    return ((key, d) for key, d in found.durables.items() if key not in topology.durables)


def _is_owned(name: str, durable: Durable, services: frozenset[str]) -> bool:
    """Whether one of the services made it; of one made by hand the name must do."""
    owner = durable.config.get("metadata", {}).get(OWNER)
    if owner is not None:
        return owner in services
    return any(name.startswith(f"{service}-") for service in services)
