"""What a peer answers to a request: subject, body, headers. The headers are the contract's."""

import uuid

from acme.users.v1 import CreateUserConfirmed, CreateUserRejected
from nats.js.errors import APIError

DURABLE = "user-creation-create-user-requested"
STREAM = "USERS"
REQUESTS = "users.v1.create-requested.*"
ALREADY_STORED = 10077
PATIENCE = 30.0
"""Seconds for a publish; with FastStream's 0.5 a slow disk had messages come again for ever."""


def confirmed(request, user_id):
    body = CreateUserConfirmed(
        request_id=request.request_id,
        user_id=user_id,
        email=request.email,
        display_name=request.display_name,
        locale=request.locale,
    )
    body.created_at.GetCurrentTime()
    return _message("users.v1.create-confirmed", body)


def rejected(request):
    body = CreateUserRejected(
        request_id=request.request_id,
        reason=CreateUserRejected.REASON_EMAIL_TAKEN,
        email=request.email,
        locale=request.locale,
    )
    return _message("users.v1.create-rejected", body)


async def store(publisher, answer):
    """Publish with FastStream. Stored already is fine: the stream keeps one of each subject."""
    subject, body, headers = answer
    try:
        await publisher.publish(body, subject=subject, headers=headers)
    except APIError as error:
        if error.err_code != ALREADY_STORED:
            raise


def _message(subject, body):
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid4()),
        "ce-type": body.DESCRIPTOR.full_name,
        "ce-source": "bench",
        "ce-correlationid": body.request_id,
    }
    return f"{subject}.{body.request_id}", body.SerializeToString(), headers
