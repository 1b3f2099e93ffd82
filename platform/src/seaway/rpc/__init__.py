"""gRPC, served: limits, deadlines, health, reflection, errors as AIP-193 has them, and the end.

    async with RpcServer({service_descriptor: servicer}, port=50051) as server:
        ...

A servicer raises Refusal to say no. Everything else that it raises becomes a status here, and
none of it shows the caller the text of an exception.
"""

from seaway.rpc.call import Call, ServicerContext
from seaway.rpc.certificates import Certificates
from seaway.rpc.clients import Clients, is_verified
from seaway.rpc.limits import Limits
from seaway.rpc.refusal import (
    FieldViolation,
    Refusal,
    exhausted,
    invalid,
    unavailable,
    validate,
    violations,
)
from seaway.rpc.server import RpcServer

__all__ = [
    "Call",
    "Certificates",
    "Clients",
    "FieldViolation",
    "Limits",
    "Refusal",
    "RpcServer",
    "ServicerContext",
    "exhausted",
    "invalid",
    "is_verified",
    "unavailable",
    "validate",
    "violations",
]
