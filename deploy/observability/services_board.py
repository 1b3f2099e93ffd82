"""What a process does with what it has, and whether what it depends on is there."""

from grafana import Dashboard, Panel, Query, Row, each, increase, of, quantile, rate, slowest

PROCESS = "job, instance"
OPEN_FILES = f"{of('process_open_fds')} / {of('process_max_fds')}"
CONNECTIONS = f"{of('seaway_database_connections')} / {of('seaway_database_connections_max')}"


def ago(timestamp: str) -> str:
    """Return how many seconds ago the last of some moments was."""
    return f"time() - max({of(timestamp)})"


PROCESSES = [
    Panel(
        "Versions",
        "How many processes run of each service and version. Two versions: a roll-out.",
        "short",
        [Query(f"count by (service, version) ({of('seaway_build_info')})", "processes")],
        "table",
    ),
    Panel(
        "Restarts",
        "Processes that began anew. Again and again: the last lines of its log say why.",
        "short",
        [each("sum", PROCESS, f"changes({of('process_start_time_seconds')}[$__rate_interval])")],
    ),
    Panel(
        "Processor",
        "Of one processor. At its limit: everything is late; see the event loop.",
        "percentunit",
        [each("sum", PROCESS, rate("process_cpu_seconds_total"))],
    ),
    Panel(
        "Memory",
        "Resident. It should be flat; what only grows ends at the limit.",
        "bytes",
        [each("sum", PROCESS, of("process_resident_memory_bytes"))],
    ),
    Panel(
        "Event loop late by",
        "99 in 100 times. Red: too little processor, or a handler that computes.",
        "s",
        [slowest(0.99, "seaway_event_loop_lag_seconds", "service")],
        red_from=0.5,
    ),
    Panel(
        "Open files",
        "Of those that it may open. Red: connections are not closed.",
        "percentunit",
        [each("max", PROCESS, OPEN_FILES)],
        red_from=0.8,
    ),
    Panel(
        "A batch takes",
        "From fetched to settled, for 95 in 100. It is what the handler and its dependency need.",
        "s",
        [slowest(0.95, "seaway_handler_seconds", "durable")],
    ),
]

STORES = [
    Panel(
        "Connected to the broker",
        "1 while it is. Red: the runbook of SeawayBrokerAway.",
        "short",
        [each("min", "service", of("seaway_nats_connected"))],
        width=6,
        red_below=1,
    ),
    Panel(
        "Came back",
        "How often the connection was made anew. Again and again: the network, or the broker.",
        "short",
        [each("sum", "service", increase("seaway_nats_reconnects_total"))],
        width=6,
    ),
    Panel(
        "Storing takes",
        "From handed to the broker to answered, for 95 in 100. If it grows: the broker's disk.",
        "s",
        [slowest(0.95, "seaway_publish_seconds", "service")],
        width=6,
    ),
    Panel(
        "Database connections in use",
        "Of those that there may be. At 100 % transactions wait for each other.",
        "percentunit",
        [each("max", "schema", CONNECTIONS)],
        width=6,
        red_from=1,
    ),
    Panel(
        "Purged",
        "Records of messages that the stream has not kept for a week. None for days: the log says"
        " why.",
        "short",
        [each("sum", "durable", increase("seaway_messages_purged_total"))],
        width=24,
    ),
]

DIED = "A process died in between: the log names each."

MAIL = [
    Panel(
        title,
        f"{says} Messages wait while the server is away.",
        "short",
        [each("sum", label, increase(metric))],
    )
    for title, metric, label, says in (
        ("Mails", "seaway_emails_total", "outcome", "What was done for each outcome."),
        ("Not sent", "seaway_smtp_failures_total", "reason", "Away: mend the mail server."),
        ("Perhaps sent before", "seaway_emails_ambiguous_total", "action", DIED),
    )
]

CRM = [
    Panel(
        "Calls",
        "By the status of the answer. 429: too often; none: it did not answer.",
        "reqps",
        [each("sum", "status", rate("seaway_crm_calls_total"))],
        width=12,
    ),
    Panel(
        "An answer takes",
        "For 95 in 100, without the wait for our turn. Above 5 s it counts as away.",
        "s",
        [Query(quantile(0.95, "seaway_crm_call_seconds"), "p95")],
        width=12,
        red_from=5,
    ),
]

WAREHOUSE = [
    Panel(
        "Rows",
        "Added, and messages that came again. None added while some wait: see its lag.",
        "ops",
        [
            Query(f"sum({rate('seaway_warehouse_rows_total')})", "added"),
            Query(f"sum({rate('seaway_warehouse_repeated_total')})", "came again"),
        ],
    ),
    Panel(
        "A commit takes",
        "For 95 in 100. If it grows: many small files, or a slow object store.",
        "s",
        [Query(quantile(0.95, "seaway_warehouse_commit_seconds"), "p95")],
    ),
    Panel(
        "Files, and upkeep that failed",
        "Upkeep makes few files of many. Failing again and again: SeawayWarehouseUpkeepFails.",
        "short",
        [
            Query(f"max({of('seaway_warehouse_files')})", "files"),
            Query(f"sum({increase('seaway_warehouse_upkeep_failed_total')})", "failed"),
        ],
    ),
]

AUDIT = [
    Panel(
        "Last audit, last look",
        "How long ago they were. Red: the monitor, or a service that does not answer it.",
        "s",
        [
            Query(ago("seaway_audit_timestamp_seconds"), "audit"),
            Query(ago("seaway_looked_timestamp_seconds"), "look at the broker"),
        ],
        width=6,
        red_from=3600,
    ),
    Panel(
        "Answered the audit",
        "1 if a service did. 0: is its database there?",
        "short",
        [each("min", "service", of("seaway_audit_answered"))],
        width=6,
        red_below=1,
    ),
    Panel(
        "An audit takes",
        "It takes a tenth of the time at most, and then waits.",
        "s",
        [Query(f"max({of('seaway_audit_seconds')})", "takes")],
        width=6,
    ),
    Panel(
        "An audit reads",
        "Messages read, and those of which nothing is kept on purpose.",
        "short",
        [
            Query(f"max({of('seaway_audit_messages')})", "read"),
            Query(f"sum({of('seaway_forgotten_messages')})", "forgotten"),
        ],
        width=6,
    ),
]

SERVICES = Dashboard(
    "seaway-services",
    "Seaway / Services",
    "Is every process well, and is what it depends on there?",
    [
        Row("Processes", PROCESSES),
        Row("Broker and database", STORES),
        Row("Mail", MAIL),
        Row("CRM", CRM),
        Row("Data warehouse", WAREHOUSE),
        Row("Audit", AUDIT),
    ],
)
"""For whoever looks at processes and what they depend on."""
