"""What somebody is told of, and how urgently.

A page is for what hurts those who sign up, or what we promised never to do: somebody gets up. A
ticket can wait for the morning, because messages wait, too. What has its own alert is not told
twice: a durable whose dependency is away is not also too slow.
"""

from dataclasses import dataclass
from typing import Literal

from durations import MINUTE, Clock
from objectives import ANSWERED, FAST, FAST_BURNS, OURS, SIGN_UP, SLOW_BURNS, Objective, burning

RUNBOOKS = "docs/runbooks.md"

type Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Alert:
    """What is watched, and what is said when it happens."""

    name: str
    expression: str
    """In PromQL; its durations are scaled by the clock."""
    lasting: float
    """Seconds for which it has to be so."""
    severity: Severity
    summary: str
    description: str
    dashboard: str
    """The uid of the dashboard to look at first."""

    def rule(self, clock: Clock) -> dict[str, object]:
        """Return it as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": clock.expression(self.expression),
            "for": clock.lasting(self.lasting),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}#{self.name.lower()}",
                "dashboard": f"/d/{self.dashboard}",
            },
        }


def highest(measured: str, by: str = "durable") -> str:
    """Return the highest of what all processes say of each durable."""
    return f"max by ({by}) ({measured})"


def share(part: str, whole: str, by: str = "") -> str:
    """Return how much of what is counted is of one kind, within ten minutes."""
    of = f"sum by ({by}) " if by else "sum"
    return f"{of}(rate({part}[10m])) / {of}(rate({whole}[10m]))"


def _budget(objective: Objective, which: str, now: str, slowly: str) -> tuple[Alert, Alert]:
    name, promised = f"SeawaySignUp{which}BudgetBurn", f"Promised: {objective.says}."
    return (
        Alert(
            name,
            burning(objective, FAST_BURNS),
            2 * MINUTE,
            "page",
            now,
            f"The budget of a month would be gone within days. {promised}",
            "seaway-slo",
        ),
        Alert(
            f"{name}Slowly",
            burning(objective, SLOW_BURNS),
            15 * MINUTE,
            "ticket",
            f"More sign-ups {slowly} than promised",
            f"The budget of a month will not last. {promised}",
            "seaway-slo",
        ),
    )


OF_SIGN_UPS = (
    *_budget(ANSWERED, "Error", "People cannot sign up", "fail"),
    *_budget(FAST, "Latency", "Signing up is slow", "are slow"),
)

OTHERS = f'grpc_method!="{SIGN_UP}"'
FAILED = f'grpc_server_handled_total{{{OTHERS},grpc_code=~"{OURS}"}}'
HANDLED = f"grpc_server_handled_total{{{OTHERS}}}"

OF_PROCESSES = (
    Alert(
        "SeawayBrokerAway",
        "min by (service) (seaway_nats_connected) == 0",
        MINUTE,
        "page",
        "{{ $labels.service }} has no broker",
        "A process of {{ $labels.service }} is not connected to NATS. Nobody can sign up while no"
        " gateway is.",
        "seaway-services",
    ),
    Alert(
        "SeawayServiceGone",
        "group by (service) (max_over_time(seaway_build_info[1d]))"
        " unless on (service) seaway_build_info",
        5 * MINUTE,
        "page",
        "Nobody has heard of {{ $labels.service }}",
        "Within the last day there was a process of {{ $labels.service }}, and now Prometheus"
        " reaches none.",
        "seaway-services",
    ),
    Alert(
        "SeawayGrpcErrors",
        f"{share(FAILED, HANDLED, 'grpc_method')} > 0.05",
        10 * MINUTE,
        "ticket",
        "{{ $labels.grpc_method }} fails",
        "{{ $value | humanizePercentage }} of the calls fail by our own fault.",
        "seaway-grpc",
    ),
    Alert(
        "SeawayEventLoopSlow",
        "histogram_quantile(0.99, sum by (service, le)"
        " (rate(seaway_event_loop_lag_seconds_bucket[10m]))) > 0.5",
        15 * MINUTE,
        "ticket",
        "{{ $labels.service }} is late for everything",
        "One time in a hundred its event loop is {{ $value | humanizeDuration }} late: it has too"
        " little processor, or a handler computes too long.",
        "seaway-services",
    ),
)

AWAY = "avg_over_time(seaway_breaker_open[5m]) > 0.5"
BESIDES = f"unless on (durable) {highest(AWAY)}"
FRESH = "and on () time() - max(seaway_looked_timestamp_seconds) < 2m"
"""While the monitor sees nothing its figures are old, and say nothing."""
LAG, DRAIN = highest("seaway_lag_seconds"), highest("seaway_drain_seconds")
PULLED = highest("seaway_durable_pulled")
IN_HAND = highest("seaway_ack_pending_messages / seaway_max_ack_pending_messages")
SETTLED = "seaway_messages_settled_total"
RETRIED = f'{SETTLED}{{outcome="retried"}}'
FALLS_BEHIND = highest("deriv(seaway_lag_seconds[10m])") + " > 0"

OF_DURABLES = (
    Alert(
        "SeawayDependencyAway",
        highest(AWAY, "service, durable"),
        0,
        "ticket",
        "What {{ $labels.service }} needs is away",
        "{{ $labels.durable }} fetches nothing but a message now and then, because its database,"
        " mail server, CRM or object store does not answer. Messages wait, and none is given up.",
        "seaway-services",
    ),
    Alert(
        "SeawayNobodyConsumes",
        f"{PULLED} == 0 {FRESH}",
        5 * MINUTE,
        "ticket",
        "Nobody fetches from {{ $labels.durable }}",
        "No replica of its service asks the broker for messages.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayConsumerStalled",
        f"({DRAIN} == Inf and on (durable) {PULLED} == 1) {BESIDES} {FRESH}",
        5 * MINUTE,
        "ticket",
        "{{ $labels.durable }} gets nothing done",
        "Messages wait and somebody fetches, but none was settled within a minute.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayOldestMessageTooOld",
        f"{LAG} > 5m {BESIDES} {FRESH}",
        5 * MINUTE,
        "ticket",
        "{{ $labels.durable }} is behind",
        "The oldest message that it has not settled is {{ $value | humanizeDuration }} old.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayDrainTooSlow",
        f"(({DRAIN} > 15m) < Inf and on (durable) {FALLS_BEHIND}) {BESIDES} {FRESH}",
        10 * MINUTE,
        "ticket",
        "{{ $labels.durable }} does not keep up",
        "At this rate it needs {{ $value | humanizeDuration }} for what waits, and it falls"
        " behind.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayAckPendingSaturated",
        f"{IN_HAND} > 0.9 {FRESH}",
        10 * MINUTE,
        "ticket",
        "{{ $labels.durable }} has as much in hand as it may",
        "At its limit the broker delivers no more, however many replicas there are.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayRedeliveriesHigh",
        f"({share(RETRIED, SETTLED, 'durable')} > 0.2) {BESIDES}",
        15 * MINUTE,
        "ticket",
        "{{ $labels.durable }} tries again and again",
        "{{ $value | humanizePercentage }} of what it settles fails and comes again.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayDeadLetters",
        f"{highest('seaway_dead_letter_messages')} > 0",
        MINUTE,
        "ticket",
        "{{ $value }} messages of {{ $labels.durable }} wait for a person",
        "They were set aside because they cannot be handled; the rest goes on.",
        "seaway-event-bus",
    ),
)

OF_WHAT_IS_KEPT = (
    Alert(
        "SeawayUnaccounted",
        f"{highest('seaway_unaccounted_messages', 'durable, kind')} > 0",
        5 * MINUTE,
        "page",
        "{{ $labels.durable }}: {{ $labels.kind }}",
        "{{ $value }} messages that were accepted are not accounted for.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayStreamNearLimit",
        f"{highest('seaway_stream_bytes / seaway_stream_max_bytes', 'stream')} > 0.7",
        5 * MINUTE,
        "page",
        "The stream {{ $labels.stream }} is {{ $value | humanizePercentage }} full",
        "From 80 % on nobody can sign up.",
        "seaway-event-bus",
    ),
    Alert(
        "SeawayMonitorBlind",
        "time() - max(seaway_looked_timestamp_seconds) > 5m"
        " unless on () min(seaway_nats_connected) == 0",
        MINUTE,
        "ticket",
        "The monitor sees nothing",
        "It has not looked at the broker for {{ $value | humanizeDuration }}, so that nothing is"
        " known of lag and dead letters.",
        "seaway-services",
    ),
    Alert(
        "SeawayAuditOverdue",
        "time() - max(seaway_audit_timestamp_seconds) > 1h",
        15 * MINUTE,
        "ticket",
        "Nobody knows whether everything is accounted for",
        "No audit was complete for {{ $value | humanizeDuration }}.",
        "seaway-services",
    ),
    Alert(
        "SeawayCrmThrottled",
        share('seaway_crm_calls_total{status="429"}', "seaway_crm_calls_total") + " > 0.1",
        15 * MINUTE,
        "ticket",
        "The CRM says that we ask too often",
        "It refuses {{ $value | humanizePercentage }} of our calls.",
        "seaway-services",
    ),
    Alert(
        "SeawayWarehouseUpkeepFails",
        "sum(increase(seaway_warehouse_upkeep_failed_total[1h])) > 2.5",
        0,
        "ticket",
        "The warehouse is not tidied up",
        "Three rounds of upkeep failed within an hour: files pile up, and what is to be forgotten"
        " is not deleted.",
        "seaway-services",
    ),
)

ALERTS = (*OF_SIGN_UPS, *OF_PROCESSES, *OF_DURABLES, *OF_WHAT_IS_KEPT)
