"""What a process does with what it has: calls, dependencies, memory."""

from collections.abc import Iterator

from grafana import Dashboard, Panel, Query, Row, of, quantile, rate
from objectives import OURS

BY_METHOD = "{{grpc_method}}"
WHERE = "{{job}} {{instance}}"


def grpc() -> Dashboard:
    """Return the page for whoever looks at calls: rate, errors, duration."""
    return Dashboard(
        "seaway-grpc",
        "Seaway / gRPC",
        "How many calls come, how many fail, and how long do they take?",
        [Row("Calls", list(_calls())), Row("Time", list(_time()))],
    )


def _calls() -> Iterator[Panel]:
    handled = rate("grpc_server_handled_total")
    failed = rate("grpc_server_handled_total", f'grpc_code=~"{OURS}"')
    late = rate("grpc_server_handled_total", 'grpc_code="DeadlineExceeded"')
    yield Panel(
        "Calls",
        "Calls that began. None where there should be some: is the way to the gateway open?",
        "reqps",
        [
            Query(
                f"sum by (grpc_method) ({rate('grpc_server_started_total')})",
                BY_METHOD,
            )
        ],
    )
    yield Panel(
        "Failures",
        "Of all calls that ended, how many failed by our own fault. Red: by which code?",
        "percentunit",
        [
            Query(
                f"sum by (grpc_method) ({failed}) / (sum by (grpc_method) ({handled}) > 0)",
                BY_METHOD,
            )
        ],
        red_from=0.05,
    )
    yield Panel(
        "Codes",
        "How calls end. ResourceExhausted and InvalidArgument are the caller's doing.",
        "reqps",
        [Query(f"sum by (grpc_code) ({handled}) > 0", "{{grpc_code}}")],
    )
    yield Panel(
        "Deadline exceeded",
        "Calls that took longer than they may. Red: the broker is slow, or the processor short.",
        "reqps",
        [Query(f"sum by (grpc_method) ({late})", BY_METHOD)],
        red_from=0.1,
    )
    yield Panel(
        "Open streams",
        "Those who wait or watch now. Uneven: clients do not spread their connections.",
        "short",
        [
            Query(
                f"sum by (instance, grpc_method) ({of('seaway_streams_active')})",
                "{{instance}} {{grpc_method}}",
            )
        ],
    )


def _time() -> Iterator[Panel]:
    for share, name in ((0.5, "Half"), (0.95, "95 in 100"), (0.99, "99 in 100")):
        yield Panel(
            f"{name} within",
            "How long calls took, streams until their end. If it grows: which method?",
            "s",
            [Query(quantile(share, "grpc_server_handling_seconds", "grpc_method"), BY_METHOD)],
        )


def services() -> Dashboard:
    """Return the page for whoever looks at processes and what they depend on."""
    return Dashboard(
        "seaway-services",
        "Seaway / Services",
        "Is every process well, and is what it depends on there?",
        [
            Row("Processes", list(_processes())),
            Row("Broker and database", list(_stores())),
            Row("Mail", list(_mail())),
            Row("CRM", list(_crm())),
            Row("Data warehouse", list(_warehouse())),
            Row("Audit", list(_audit())),
        ],
    )


def _processes() -> Iterator[Panel]:
    yield Panel(
        "Versions",
        "How many processes run of each service and version. Two versions: a roll-out.",
        "short",
        [Query(f"count by (service, version) ({of('seaway_build_info')})", "processes")],
        "table",
    )
    started = of("process_start_time_seconds")
    yield Panel(
        "Restarts",
        "Processes that began anew. Again and again: the last lines of its log say why.",
        "short",
        [Query(f"sum by (job, instance) (changes({started}[$__rate_interval]))", WHERE)],
    )
    yield Panel(
        "Processor",
        "Of one processor. At its limit: everything is late; see the event loop.",
        "percentunit",
        [Query(f"sum by (job, instance) ({rate('process_cpu_seconds_total')})", WHERE)],
    )
    yield Panel(
        "Memory",
        "Resident. It should be flat; what only grows ends at the limit.",
        "bytes",
        [Query(f"sum by (job, instance) ({of('process_resident_memory_bytes')})", WHERE)],
    )
    yield Panel(
        "Event loop late by",
        "99 in 100 times. Red: too little processor, or a handler that computes.",
        "s",
        [Query(quantile(0.99, "seaway_event_loop_lag_seconds", "service"), "{{service}}")],
        red_from=0.5,
    )
    files = f"{of('process_open_fds')} / {of('process_max_fds')}"
    yield Panel(
        "Open files",
        "Of those that it may open. Red: connections are not closed.",
        "percentunit",
        [Query(f"max by (job, instance) ({files})", WHERE)],
        red_from=0.8,
    )
    yield Panel(
        "A batch takes",
        "From fetched to settled, for 95 in 100. It is what the handler and its dependency need.",
        "s",
        [Query(quantile(0.95, "seaway_handler_seconds", "durable"), "{{durable}}")],
    )


def _stores() -> Iterator[Panel]:
    yield Panel(
        "Connected to the broker",
        "1 while it is. Red: the runbook of SeawayBrokerAway.",
        "short",
        [Query(f"min by (service) ({of('seaway_nats_connected')})", "{{service}}")],
        width=6,
        red_below=1,
    )
    reconnects = of("seaway_nats_reconnects_total")
    yield Panel(
        "Came back",
        "How often the connection was made anew. Again and again: the network, or the broker.",
        "short",
        [Query(f"sum by (service) (increase({reconnects}[$__rate_interval]))", "{{service}}")],
        width=6,
    )
    yield Panel(
        "Storing takes",
        "From handed to the broker to answered, for 95 in 100. If it grows: the broker's disk.",
        "s",
        [Query(quantile(0.95, "seaway_publish_seconds", "service"), "{{service}}")],
        width=6,
    )
    used = f"{of('seaway_database_connections')} / {of('seaway_database_connections_max')}"
    yield Panel(
        "Database connections in use",
        "Of those that there may be. At 100 % transactions wait for each other.",
        "percentunit",
        [Query(f"max by (schema) ({used})", "{{schema}}")],
        width=6,
        red_from=1,
    )


def _mail() -> Iterator[Panel]:
    for title, metric, label, says in (
        ("Mails", "seaway_emails_total", "outcome", "What was done for each outcome."),
        ("Not sent", "seaway_smtp_failures_total", "reason", "Away: mend the mail server."),
        (
            "Perhaps sent before",
            "seaway_emails_ambiguous_total",
            "action",
            "A process died in between: the log names each.",
        ),
    ):
        yield Panel(
            title,
            f"{says} Messages wait while the server is away.",
            "short",
            [
                Query(
                    f"sum by ({label}) (increase({of(metric)}[$__rate_interval]))",
                    f"{{{{{label}}}}}",
                )
            ],
        )


def _crm() -> Iterator[Panel]:
    yield Panel(
        "Calls",
        "By the status of the answer. 429: too often; none: it did not answer.",
        "reqps",
        [Query(f"sum by (status) ({rate('seaway_crm_calls_total')})", "{{status}}")],
        width=12,
    )
    yield Panel(
        "An answer takes",
        "For 95 in 100, without the wait for our turn. Above 5 s it counts as away.",
        "s",
        [Query(quantile(0.95, "seaway_crm_call_seconds"), "p95")],
        width=12,
        red_from=5,
    )


def _warehouse() -> Iterator[Panel]:
    added, again = rate("seaway_warehouse_rows_total"), rate("seaway_warehouse_repeated_total")
    yield Panel(
        "Rows",
        "Added, and messages that came again. None added while some wait: see its lag.",
        "ops",
        [Query(f"sum({added})", "added"), Query(f"sum({again})", "came again")],
    )
    yield Panel(
        "A commit takes",
        "For 95 in 100. If it grows: many small files, or a slow object store.",
        "s",
        [Query(quantile(0.95, "seaway_warehouse_commit_seconds"), "p95")],
    )
    failed = of("seaway_warehouse_upkeep_failed_total")
    yield Panel(
        "Files, and upkeep that failed",
        "Upkeep makes few files of many. Failing again and again: SeawayWarehouseUpkeepFails.",
        "short",
        [
            Query(f"max({of('seaway_warehouse_files')})", "files"),
            Query(f"sum(increase({failed}[$__rate_interval]))", "failed"),
        ],
    )


def _audit() -> Iterator[Panel]:
    age = f"time() - max({of('seaway_audit_timestamp_seconds')})"
    looked = f"time() - max({of('seaway_looked_timestamp_seconds')})"
    yield Panel(
        "Last audit, last look",
        "How long ago they were. Red: the monitor, or a service that does not answer it.",
        "s",
        [Query(age, "audit"), Query(looked, "look at the broker")],
        width=6,
        red_from=3600,
    )
    yield Panel(
        "Answered the audit",
        "1 if a service did. 0: is its database there?",
        "short",
        [Query(f"min by (service) ({of('seaway_audit_answered')})", "{{service}}")],
        width=6,
        red_below=1,
    )
    yield Panel(
        "An audit takes",
        "It takes a tenth of the time at most, and then waits.",
        "s",
        [Query(f"max({of('seaway_audit_seconds')})", "takes")],
        width=6,
    )
    yield Panel(
        "An audit reads",
        "Messages read, and those of which nothing is kept on purpose.",
        "short",
        [
            Query(f"max({of('seaway_audit_messages')})", "read"),
            Query(f"sum({of('seaway_forgotten_messages')})", "forgotten"),
        ],
        width=6,
    )
