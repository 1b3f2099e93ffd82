"""Calls: how many come, how many fail, how long they take."""

from grafana import Dashboard, Panel, Query, Row, each, of, proportion, rate, slowest
from objectives import OURS

HANDLED = "grpc_server_handled_total"

CALLS = [
    Panel(
        "Calls",
        "Calls that began. None where there should be some: is the way to the gateway open?",
        "reqps",
        [each("sum", "grpc_method", rate("grpc_server_started_total"))],
    ),
    Panel(
        "Failures",
        "Of all calls that ended, how many failed by our own fault. Red: by which code?",
        "percentunit",
        [proportion("grpc_method", rate(HANDLED, f'grpc_code=~"{OURS}"'), rate(HANDLED))],
        red_from=0.05,
    ),
    Panel(
        "Codes",
        "How calls end. ResourceExhausted and InvalidArgument are the caller's doing.",
        "reqps",
        [Query(f"sum by (grpc_code) ({rate(HANDLED)}) > 0", "{{grpc_code}}")],
    ),
    Panel(
        "Deadline exceeded",
        "Calls that took longer than they may. Red: the broker is slow, or the processor short.",
        "reqps",
        [each("sum", "grpc_method", rate(HANDLED, 'grpc_code="DeadlineExceeded"'))],
        red_from=0.1,
    ),
    Panel(
        "Open streams",
        "Those who wait or watch now. Uneven: clients do not spread their connections.",
        "short",
        [each("sum", "instance, grpc_method", of("seaway_streams_active"))],
    ),
]

TIME = [
    Panel(
        f"{name} within",
        "How long calls took, streams until their end. If it grows: which method?",
        "s",
        [slowest(share, "grpc_server_handling_seconds", "grpc_method")],
    )
    for share, name in ((0.5, "Half"), (0.95, "95 in 100"), (0.99, "99 in 100"))
]

GRPC = Dashboard(
    "seaway-grpc",
    "Seaway / gRPC",
    "How many calls come, how many fail, and how long do they take?",
    [Row("Calls", CALLS), Row("Time", TIME)],
)
"""For whoever looks at calls: rate, errors, duration."""
