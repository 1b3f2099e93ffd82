"""Whether what a program says in answer to a message is what it must be."""

from collections.abc import Sequence
from uuid import uuid5

from google.protobuf.message import Message

from seaway.conformance.promise import Broken
from seaway.conformance.tap import Said
from seaway.conformance.trial import Given, Trial
from seaway.contract import Address, address_of, installed_types
from seaway.envelope import SEAWAY, Envelope, decode
from seaway.errors import ContractError, Unprocessable

GUARD = "Nats-Expected-Last-Subject-Sequence"


def check_replies(trial: Trial, given: Given, replies: Sequence[Said]) -> None:
    """Raise Broken with the first thing that is wrong with the replies to one message."""
    outcomes = {address.message for address in trial.candidate.outcomes}
    said = [reply for reply in replies if reply.headers.get("ce-type") in outcomes]
    if outcomes and not said:
        raise Broken(f"it said nothing: {trial.candidate.message} asks for {_either(outcomes)}")
    if len(subjects := {reply.subject for reply in said}) > 1:
        raise Broken(f"more than one outcome: {_either(subjects)}")
    for reply in replies:
        check_reply(reply, given.envelope, trial.candidate.durable.name)


def check_reply(reply: Said, cause: Envelope[Message], durable: str) -> None:
    """Raise Broken if a reply is not where, whose or what it must be."""
    headers = reply.headers
    address, key = _read(reply)
    wanted = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid5(SEAWAY, f"{cause.id}/{durable}/{address.message}/{key}")),
        "ce-correlationid": cause.correlation_id,
        "ce-causationid": cause.id,
        "content-type": "application/protobuf",
    }
    if address.rivals:
        wanted |= {GUARD: "0", f"{GUARD}-Subject": address.rivals_for(key)[0]}
    for name, value in wanted.items():
        if headers.get(name) != value:
            raise Broken(f"{name} is {headers.get(name)!r}, and not {value!r}")
    was = headers.get("traceparent", "")
    if _trace(was) != _trace(cause.traceparent):
        raise Broken(f"traceparent is {was!r}, and of another trace than {cause.traceparent!r}")
    if reply.subject != address.subject_for(key):
        raise Broken(f"it is on {reply.subject}, and not on {address.subject_for(key)}")
    if address.stream.once_per_key and "Nats-Msg-Id" in headers:
        raise Broken("it has a Nats-Msg-Id, where the subject is the identity")


def _read(reply: Said) -> tuple[Address, str]:
    """Return where such a reply belongs, and its key. Raises Broken if nobody can read it."""
    type_ = installed_types().get(reply.headers.get("ce-type", ""))
    if type_ is None:
        raise Broken(f"no contract declares its ce-type {reply.headers.get('ce-type')!r}")
    try:
        body = decode(type_, reply.body, reply.headers).body
        return address_of(type_), address_of(type_).key_of(body)
    except (Unprocessable, ContractError) as why:
        raise Broken(f"nobody can read its {type_.DESCRIPTOR.name}: {why}") from why


def _trace(parent: str) -> str:
    return parent.split("-")[1] if parent.count("-") >= 3 else parent


def _either(names: set[str]) -> str:
    return " or ".join(sorted(names))
