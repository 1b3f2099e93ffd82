"""What a service imports from `seaway`: changing it is a decision, not an accident."""

import subprocess
import sys

import seaway

PUBLIC = [
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


def test_the_public_names_are_these():
    assert seaway.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(seaway, name)] == []


def test_a_handler_does_not_drag_in_the_broker_or_a_server():
    heavy = "{'nats', 'grpc', 'sqlalchemy', 'uvicorn', 'typer'}"
    code = f"import sys, seaway; print(sorted({heavy} & sys.modules.keys()))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout == b"[]\n"
