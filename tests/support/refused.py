"""What a gRPC client is told when the answer is no."""

from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Refused:
    code: str = ""
    said: str = ""
    reason: str = ""
    domain: str = ""
    metadata: dict | None = None
    fields: tuple = ()
    retry_after: float | None = None


@contextmanager
def refused():
    """The call within is refused; yields how, with exactly one ErrorInfo as AIP-193 asks."""
    told = Refused()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield told
    error = caught.value
    told.code, told.said = error.code().name, error.details()
    status = rpc_status.from_call(error)
    details = [] if status is None else [unpacked(detail) for detail in status.details]
    assert len([d for d in details if isinstance(d, error_details_pb2.ErrorInfo)]) <= 1
    for detail in details:
        match detail:
            case error_details_pb2.ErrorInfo():
                told.reason, told.domain = detail.reason, detail.domain
                told.metadata = dict(detail.metadata)
            case error_details_pb2.BadRequest():
                told.fields = tuple(violation.field for violation in detail.field_violations)
            case error_details_pb2.RetryInfo():
                told.retry_after = detail.retry_delay.ToTimedelta().total_seconds()


def unpacked(packed):
    detail = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
    packed.Unpack(detail)
    return detail
