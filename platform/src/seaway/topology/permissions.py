"""Who may do what at the broker: as the contracts, the subscriptions and seaway.toml say.

Everything is refused that is not named here. Nobody may delete or purge a stream; only the
provisioner makes streams and durables; and each listens to answers on an inbox of its own, so
that none can read what another is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from seaway.contract import Address, Stream, address_of, installed_types
from seaway.dead_letters import DEAD, DISCARDED, letter_subject
from seaway.errors import TopologyError
from seaway.service import redrive_subject
from seaway.topology.declaring import LIVE
from seaway.topology.durable_spec import DurableSpec

API = "$JS.API"
PROVISIONER = "provisioner"
"""Who makes streams and durables; never a service that runs."""
OPERATOR = "operator"
"""Who looks, redrives, discards and replays: a person, with the command `seaway`."""
COMMANDS = "seaway"
"""What the connection of every command calls itself, and so its inbox."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One name at the broker, and the only subjects that it may publish and subscribe to."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def service_identity(
    name: str,
    listens: Sequence[DurableSpec],
    *,
    publishes: Iterable[str] = (),
    follows: Iterable[str] = (),
    reads: Iterable[str] = (),
) -> Identity:
    """Return what a service may do: fetch and settle its own, and say what it is there to say.

    `publishes` and `follows` are full names of message types, `reads` names of streams. The
    outcomes of a command that it listens to need not be named. It sees the settings of all
    streams and durables, to compare them with its own. Raises TopologyError for a name that no
    installed contract has.
    """
    said = [_address(message) for message in publishes]
    said += [address for spec in listens for address in _outcomes(spec)]
    followed = [_address(message) for message in follows]
    own = [subject for spec in listens for subject in _durable(spec)]
    publish = [*_looking(), *own, *(address.every_key for address in said)]
    # What was refused, since something is stored there already, is read to see what it is.
    publish += [_one(a.stream, s) for a in said for s in (a.every_key, *a.rivals_for("*"))]
    publish += [_one(address.stream, address.every_key) for address in followed]
    publish += [subject for stream in reads for subject in _reading(_stream(stream))]
    live = [f"{LIVE}.{address.every_key}" for address in followed]
    return Identity(name, _once(publish), _once([_inbox(name), *live]))


def provisioner() -> Identity:
    """Return who may make and change the contracts' streams, and their durables."""
    calls = [
        call
        for stream in _streams()
        for call in (
            f"{API}.STREAM.CREATE.{stream.name}",
            f"{API}.STREAM.UPDATE.{stream.name}",
            f"{API}.CONSUMER.CREATE.{stream.name}.>",
            f"{API}.CONSUMER.DELETE.{stream.name}.*",
        )
    ]
    return Identity(PROVISIONER, (*_looking(), *calls), (_inbox(COMMANDS),))


def operator() -> Identity:
    """Return who may read everything, redrive, discard and replay; and change nothing else."""
    publish = [*_looking(), f"{API}.STREAM.MSG.DELETE.{DEAD.name}"]
    publish += [subject for stream in _streams() for subject in _reading(stream)]
    publish += [f"{letter_subject('*', '*')}.{DISCARDED}"]
    publish += [redrive_subject(s, "*", "*") for s in _streams() if s != DEAD]
    publish += [f"{API}.CONSUMER.RESET.{s.name}.*" for s in _streams() if s != DEAD]
    live = [f"{LIVE}.{stream.subjects}" for stream in _streams()]
    return Identity(OPERATOR, tuple(publish), (_inbox(COMMANDS), *live))


def authorization(identities: Iterable[Identity], keys: Mapping[str, str]) -> str:
    """Return the nats-server's `authorization` block; `keys` has each identity's public nkey."""
    users = "".join(_user(identity, keys[identity.name]) for identity in identities)
    return f"authorization {{\n  users: [\n{users}  ]\n}}\n"


def _user(identity: Identity, key: str) -> str:
    return (
        f"    # {identity.name}\n"
        f"    {{ nkey: {key}, permissions: {{\n"
        f"        publish:   {{ allow: [{_quoted(identity.publish)}] }}\n"
        f"        subscribe: {{ allow: [{_quoted(identity.subscribe)}] }} }} }}\n"
    )


def _quoted(subjects: Iterable[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)


def _looking() -> list[str]:
    """Return what shows settings and counts, and no message."""
    return [f"{API}.STREAM.LIST", *(f"{API}.CONSUMER.LIST.{s.name}" for s in _streams())]


def _durable(spec: DurableSpec) -> list[str]:
    letters = f"{letter_subject(spec.name, '*')}"
    return [
        f"{API}.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}",
        f"$JS.ACK.{spec.stream}.{spec.name}.>",
        letters,
        _one(DEAD, letters),
    ]


def _one(stream: Stream, subject: str) -> str:
    """Return what reads the last message on a subject, and cannot ask for another one."""
    return f"{API}.DIRECT.GET.{stream.name}.{subject}"


def _reading(stream: Stream) -> list[str]:
    direct = f"{API}.DIRECT.GET.{stream.name}"
    led = [f"{API}.STREAM.{what}.{stream.name}" for what in ("INFO", "MSG.GET")]
    return [*led, direct, f"{direct}.>"]


def _outcomes(spec: DurableSpec) -> list[Address]:
    """Return the outcomes of the command that a durable hands over.

    One that hands over several types, as a projection does, only looks on.
    """
    known = [address_of(type_) for type_ in installed_types().values()]
    handed_over = [a.message for a in known if a.every_key in spec.filter_subjects]
    return [a for a in known if handed_over == [a.outcome_of]]


def _address(message: str) -> Address:
    type_ = installed_types().get(message)
    if type_ is None:
        raise TopologyError(f"no contract declares {message}")
    return address_of(type_)


def _streams() -> list[Stream]:
    known = {DEAD.name: DEAD}
    known |= {a.stream.name: a.stream for a in map(address_of, installed_types().values())}
    return list(known.values())


def _stream(name: str) -> Stream:
    found = next((stream for stream in _streams() if stream.name == name), None)
    if found is None:
        raise TopologyError(f"no contract declares stream {name}")
    return found


def _inbox(connection: str) -> str:
    return f"_INBOX_{connection}.>"


def _once(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))
