"""What waits in which durable, whether it gets less, and what was set aside."""

from collections.abc import Iterator

from grafana import Dashboard, Panel, Query, Row, of, quantile, rate


def event_bus() -> Dashboard:
    """Return the page for whoever wants to know what lies between the services."""
    return Dashboard(
        "seaway-event-bus",
        "Seaway / Event bus",
        "What waits in which durable, does it get less, and what was set aside?",
        [
            Row("What waits", list(_waiting())),
            Row("In and out", list(_in_and_out())),
            Row("Trouble", list(_trouble())),
            Row("Streams", list(_streams())),
        ],
    )


def _waiting() -> Iterator[Panel]:
    for title, metric, unit, says in (
        ("Lag", "seaway_lag_seconds", "s", "How old the oldest message is that is not settled."),
        ("Waiting", "seaway_pending_messages", "short", "Messages that are not settled."),
        ("Drained in", "seaway_drain_seconds", "s", "At the rate of the last minute."),
        ("Delivered again", "seaway_redelivered_messages", "short", "Of those, more than once."),
    ):
        yield Panel(
            title,
            f"{says} If it grows: more replicas, or the runbook of SeawayOldestMessageTooOld.",
            unit,
            [Query(f"max by (durable) ({of(metric)})", "{{durable}}")],
            width=6,
        )


def _in_and_out() -> Iterator[Panel]:
    yield Panel(
        "Published",
        "What services hand to the broker. Conflict: somebody else had another outcome stored.",
        "ops",
        [
            Query(
                f"sum by (message, outcome) ({rate('seaway_messages_published_total')})",
                "{{message}} {{outcome}}",
            )
        ],
    )
    yield Panel(
        "Settled",
        "What becomes of deliveries. Much that is retried: the runbook of SeawayRedeliveriesHigh.",
        "ops",
        [
            Query(
                f"sum by (durable, outcome) ({rate('seaway_messages_settled_total')})",
                "{{durable}} {{outcome}}",
            )
        ],
    )
    yield Panel(
        "On the way",
        "From stored to fetched, for 95 in 100. It is what a message waits for a free replica.",
        "s",
        [Query(quantile(0.95, "seaway_delivery_delay_seconds", "durable"), "{{durable}}")],
    )


def _trouble() -> Iterator[Panel]:
    settled = rate("seaway_messages_settled_total")
    retried = rate("seaway_messages_settled_total", 'outcome="retried"')
    yield Panel(
        "Comes again",
        "Of all deliveries, how many failed. Red: the log of the service has each failure.",
        "percentunit",
        [
            Query(
                f"sum by (durable) ({retried}) / (sum by (durable) ({settled}) > 0)", "{{durable}}"
            )
        ],
        red_from=0.2,
    )
    yield Panel(
        "Attempts",
        "How many it takes, for 99 in 100. More than one or two: something fails and recovers.",
        "short",
        [Query(quantile(0.99, "seaway_delivery_attempts", "durable"), "{{durable}}")],
    )
    yield Panel(
        "In hand, of what may be",
        "At 100 % the broker delivers no more. Red: is a replica stuck?",
        "percentunit",
        [
            Query(
                f"max by (durable) ({of('seaway_ack_pending_messages')}"
                f" / {of('seaway_max_ack_pending_messages')})",
                "{{durable}}",
            )
        ],
        red_from=0.9,
    )
    yield Panel(
        "Dependency away",
        "1 while nothing is fetched because a dependency does not answer. Mend that one.",
        "short",
        [Query(f"max by (durable) ({of('seaway_breaker_open')})", "{{durable}}")],
        red_from=1,
    )
    yield Panel(
        "Set aside, why",
        "Messages that nobody can handle, by reason. The handbook says what each one means.",
        "short",
        [
            Query(
                f"sum by (reason) (increase({of('seaway_dead_letters_total')}[$__rate_interval]))",
                "{{reason}}",
            )
        ],
    )
    yield Panel(
        "Not accounted for",
        "Differences that the audit found. Red: somebody gets up, and runs `seaway audit`.",
        "short",
        [
            Query(
                f"sum by (durable, kind) ({of('seaway_unaccounted_messages')})",
                "{{durable}} {{kind}}",
            )
        ],
        red_from=1,
    )


def _streams() -> Iterator[Panel]:
    bytes_kept = f"{of('seaway_stream_bytes')} / {of('seaway_stream_max_bytes')}"
    yield Panel(
        "How full",
        "From 80 % on nobody can sign up. Red: raise max_bytes.",
        "percentunit",
        [Query(f"max by (stream) ({bytes_kept})", "{{stream}}")],
        red_from=0.7,
    )
    yield Panel(
        "Messages kept",
        "They go when they are as old as the .proto says, handled or not.",
        "short",
        [Query(f"max by (stream) ({of('seaway_stream_messages')})", "{{stream}}")],
    )
    yield Panel(
        "In progress",
        "Deliveries that a handler has now. Flat at its most: one batch takes long.",
        "short",
        [Query(f"sum by (durable) ({of('seaway_messages_in_progress')})", "{{durable}}")],
    )
