"""Made by `make gen` from acme/users/v1/users.proto."""

from acme.users.v1.users_pb2 import (
    CreateUserConfirmed as CreateUserConfirmed,
    CreateUserRejected as CreateUserRejected,
    CreateUserRequested as CreateUserRequested,
    SignUpEmailHandled as SignUpEmailHandled,
    UserAddedToCrm as UserAddedToCrm,
    UserAddedToWarehouse as UserAddedToWarehouse,
)
