"""Made by `make gen` from acme/gateway/v1/sign_up.proto."""

from acme.gateway.v1.sign_up_pb2 import (
    GetSignUpRequest as GetSignUpRequest,
    SignUpRequest as SignUpRequest,
    SignUpUpdate as SignUpUpdate,
    State as State,
    WatchSignUpRequest as WatchSignUpRequest,
)
