"""What is put on trial: a program, what it listens to, and what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from seaway.contract import Address, address_of, installed_types
from seaway.errors import SettingsError
from seaway.topology import DurableSpec


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that listens as one service, and a message type to give it."""

    command: Sequence[str]
    service: str
    message: str
    """The full name of the type."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Its environment; {folder}, {dependency} and {port} are replaced."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of the messages that it is given; {key} is replaced."""
    dependency: str = ""
    """HOST:PORT of what it calls. Empty: it calls nothing but the broker."""
    whole_stream: bool = False
    """It takes every message of the stream, its own replies too, from one durable."""

    @property
    def type(self) -> type[Message]:
        """What it listens to. Raises SettingsError if no installed contract declares it."""
        known = installed_types()
        if self.message not in known:
            there = ", ".join(sorted(known))
            raise SettingsError(f"no contract declares {self.message}; there are: {there}")
        return known[self.message]

    @property
    def address(self) -> Address:
        """Where what it listens to lives."""
        return address_of(self.type)

    @property
    def durable(self) -> DurableSpec:
        """What it fetches from: the durable that its subscription makes."""
        if self.whole_stream:
            return DurableSpec.of_all(self.service, self.address.stream.name)
        return DurableSpec.elsewhere(self.service, self.message)

    @property
    def outcomes(self) -> Sequence[Address]:
        """Of what it listens to, if that is a command: one of them has to follow."""
        addresses = [address_of(type_) for type_ in installed_types().values()]
        return [address for address in addresses if address.outcome_of == self.message]
