"""What waits in which durable, whether it gets less, and what was set aside."""

from grafana import Dashboard, Panel, Row, each, increase, of, proportion, rate, slowest

SETTLED = "seaway_messages_settled_total"
IN_HAND = f"{of('seaway_ack_pending_messages')} / {of('seaway_max_ack_pending_messages')}"
BYTES_KEPT = f"{of('seaway_stream_bytes')} / {of('seaway_stream_max_bytes')}"

WAITING = [
    Panel(
        title,
        f"{says} If it grows: more replicas, or the runbook of SeawayOldestMessageTooOld.",
        unit,
        [each("max", "durable", of(metric))],
        width=6,
    )
    for title, metric, unit, says in (
        ("Lag", "seaway_lag_seconds", "s", "How old the oldest message is that is not settled."),
        ("Waiting", "seaway_pending_messages", "short", "Messages that are not settled."),
        ("Drained in", "seaway_drain_seconds", "s", "At the rate of the last minute."),
        ("Delivered again", "seaway_redelivered_messages", "short", "Of those, more than once."),
    )
]

IN_AND_OUT = [
    Panel(
        "Published",
        "What services hand to the broker. Conflict: somebody else had another outcome stored.",
        "ops",
        [each("sum", "message, outcome", rate("seaway_messages_published_total"))],
    ),
    Panel(
        "Settled",
        "What becomes of deliveries. Much that is retried: the runbook of SeawayRedeliveriesHigh.",
        "ops",
        [each("sum", "durable, outcome", rate(SETTLED))],
    ),
    Panel(
        "On the way",
        "From stored to fetched, for 95 in 100. It is what a message waits for a free replica.",
        "s",
        [slowest(0.95, "seaway_delivery_delay_seconds", "durable")],
    ),
]

TROUBLE = [
    Panel(
        "Comes again",
        "Of all deliveries, how many failed. Red: the log of the service has each failure.",
        "percentunit",
        [proportion("durable", rate(SETTLED, 'outcome="retried"'), rate(SETTLED))],
        red_from=0.2,
    ),
    Panel(
        "Attempts",
        "How many it takes, for 99 in 100. More than one or two: something fails and recovers.",
        "short",
        [slowest(0.99, "seaway_delivery_attempts", "durable")],
    ),
    Panel(
        "In hand, of what may be",
        "At 100 % the broker delivers no more. Red: is a replica stuck?",
        "percentunit",
        [each("max", "durable", IN_HAND)],
        red_from=0.9,
    ),
    Panel(
        "Dependency away",
        "1 while nothing is fetched because a dependency does not answer. Mend that one.",
        "short",
        [each("max", "durable", of("seaway_breaker_open"))],
        red_from=1,
    ),
    Panel(
        "Set aside, why",
        "Messages that nobody can handle, by reason. The handbook says what each one means.",
        "short",
        [each("sum", "reason", increase("seaway_dead_letters_total"))],
    ),
    Panel(
        "Not accounted for",
        "Differences that the audit found. Red: somebody gets up, and runs `seaway audit`.",
        "short",
        [each("sum", "durable, kind", of("seaway_unaccounted_messages"))],
        red_from=1,
    ),
]

STREAMS = [
    Panel(
        "How full",
        "From 80 % on nobody can sign up. Red: raise max_bytes.",
        "percentunit",
        [each("max", "stream", BYTES_KEPT)],
        red_from=0.7,
    ),
    Panel(
        "Messages kept",
        "They go when they are as old as the .proto says, handled or not.",
        "short",
        [each("max", "stream", of("seaway_stream_messages"))],
    ),
    Panel(
        "In progress",
        "Deliveries that a handler has now. Flat at its most: one batch takes long.",
        "short",
        [each("sum", "durable", of("seaway_messages_in_progress"))],
    ),
]

EVENT_BUS = Dashboard(
    "seaway-event-bus",
    "Seaway / Event bus",
    "What waits in which durable, does it get less, and what was set aside?",
    [
        Row("What waits", WAITING),
        Row("In and out", IN_AND_OUT),
        Row("Trouble", TROUBLE),
        Row("Streams", STREAMS),
    ],
)
"""For whoever wants to know what lies between the services."""
