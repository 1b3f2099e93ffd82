"""How an RPC says no: a status as AIP-193 has it, for programs and for people.

Exactly one ErrorInfo, with an id under which the log has more; every violated field in one
BadRequest; RetryInfo wherever trying again may help. Never the text of an exception.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from protovalidate import Violation, collect_violations

from seaway.errors import SeawayError

log = structlog.get_logger("seaway.rpc")

DOMAIN = "seaway.dev"
CORRELATION_ID = "correlation_id"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request, and what is wrong with it. Not the value: it may be personal."""

    field: str
    description: str


class Refusal(SeawayError):
    """The answer to a call is no. Raise it from a servicer.

    `reason` is in UPPER_SNAKE_CASE, for programs; `said` is a sentence, for people;
    `retry_after` is in seconds.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        said: str,
        *,
        retry_after: float | None = None,
        fields: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(said)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.fields = fields
        self.metadata = metadata or {}

    def status(self, correlation_id: str = "") -> grpc.Status:
        """Return what goes to the client, with the id of its conversation, or one of its own."""
        id = self.metadata.get(CORRELATION_ID, "")
        if not id:
            id = correlation_id or new_correlation_id()
            log.debug("a call was refused", reason=self.reason, correlation_id=id)
        number: int = self.code.value[0]
        details = [_packed(detail) for detail in self._details(id)]
        status: grpc.Status = rpc_status.to_status(
            Status(code=number, message=str(self), details=details)
        )
        return status

    def _details(self, correlation_id: str) -> list[Message]:
        metadata = {**self.metadata, CORRELATION_ID: correlation_id}
        details: list[Message] = [ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)]
        if self.fields:
            fields = [
                BadRequest.FieldViolation(field=f.field, description=f.description)
                for f in self.fields
            ]
            details.append(BadRequest(field_violations=fields))
        if self.retry_after is not None:
            retry = RetryInfo()
            retry.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(retry)
        return details


def new_correlation_id() -> str:
    """Draw one, for what belongs to no conversation."""
    return uuid4().hex[:12]


def unavailable(reason: str, said: str, retry_after: float = 1.0) -> Refusal:
    """Return a refusal that will pass: nothing was done, or it is safe to ask again."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, reason, said, retry_after=retry_after)


def exhausted(reason: str, said: str, retry_after: float = 1.0) -> Refusal:
    """Return a refusal of one more, until there are fewer."""
    return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, said, retry_after=retry_after)


def invalid(fields: Sequence[FieldViolation]) -> Refusal:
    """Return a refusal that names every violated field."""
    said = "; ".join(f"{violation.field}: {violation.description}" for violation in fields)
    code = grpc.StatusCode.INVALID_ARGUMENT
    return Refusal(code, "INVALID_REQUEST", said, fields=fields)


def unreadable(kind: type[Message]) -> Refusal:
    """Return a refusal of bytes that are not such a message, without a word of them."""
    said = f"this is not {kind.DESCRIPTOR.full_name}"
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE", said)


def violations(request: Message) -> list[FieldViolation]:
    """Return every rule of its .proto that a request breaks."""
    return [_field_violation(violation) for violation in collect_violations(request)]


def validate(request: Message) -> None:
    """Do nothing if a request keeps the rules of its .proto. Raises Refusal with all it breaks."""
    if found := violations(request):
        raise invalid(found)


def _field_violation(violation: Violation) -> FieldViolation:
    path: Any = violation.proto.field
    names = [element.field_name for element in path.elements] if path else []
    return FieldViolation(".".join(names), violation.proto.message)


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
