"""Seaway: event-driven services in which nothing accepted is ever lost."""

from seaway.contract import Address, Stream, address_of
from seaway.envelope import SEAWAY, Envelope
from seaway.errors import (
    BrokerUnavailable,
    ContractError,
    DependencyDown,
    NotNow,
    SeawayError,
    Unprocessable,
)
from seaway.outcome import Ack, DeadLetter, Outcome, Retry, RetryPolicy
from seaway.service import Service, Subscription

__all__ = [
    "SEAWAY",
    "Ack",
    "Address",
    "BrokerUnavailable",
    "ContractError",
    "DeadLetter",
    "DependencyDown",
    "Envelope",
    "NotNow",
    "Outcome",
    "Retry",
    "RetryPolicy",
    "SeawayError",
    "Service",
    "Stream",
    "Subscription",
    "Unprocessable",
    "address_of",
]
