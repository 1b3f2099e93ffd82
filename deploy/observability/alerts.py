"""What somebody is told of, and how urgently.

A page is for what hurts those who sign up, or what we promised never to do: somebody gets up. A
ticket can wait for the morning, because messages wait, too. What has its own alert is not told
twice: a durable whose dependency is away is not also too slow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from durations import DAY, HOUR, MINUTE, Clock
from objectives import ANSWERED, FAST, FAST_BURNS, OURS, SIGN_UP, SLOW_BURNS, burning

RUNBOOKS = "docs/runbooks.md"

type Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Alert:
    """What is watched, and what is said when it happens."""

    name: str
    expression: str
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
            "expr": self.expression,
            "for": clock.lasting(self.lasting),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}#{self.name.lower()}",
                "dashboard": f"/d/{self.dashboard}",
            },
        }


def alerts(clock: Clock) -> list[Alert]:
    """Return all alerts."""
    return [*_of_sign_ups(), *_of_processes(clock), *_of_durables(clock), *_of_what_is_kept(clock)]


def _of_sign_ups() -> Iterator[Alert]:
    for objective, which in ((ANSWERED, "Error"), (FAST, "Latency")):
        yield Alert(
            f"SeawaySignUp{which}BudgetBurn",
            burning(objective, FAST_BURNS),
            2 * MINUTE,
            "page",
            "People cannot sign up" if objective is ANSWERED else "Signing up is slow",
            f"The budget of a month would be gone within days. Promised: {objective.says}.",
            "seaway-slo",
        )
        yield Alert(
            f"SeawaySignUp{which}BudgetBurnSlowly",
            burning(objective, SLOW_BURNS),
            15 * MINUTE,
            "ticket",
            "More sign-ups fail than promised"
            if objective is ANSWERED
            else "More sign-ups are slow than promised",
            f"The budget of a month will not last. Promised: {objective.says}.",
            "seaway-slo",
        )


def _of_processes(clock: Clock) -> Iterator[Alert]:
    ten, day = clock.lasting(10 * MINUTE), clock.lasting(DAY)
    yield Alert(
        "SeawayBrokerAway",
        "min by (service) (seaway_nats_connected) == 0",
        MINUTE,
        "page",
        "{{ $labels.service }} has no broker",
        "A process of {{ $labels.service }} is not connected to NATS. Nobody can sign up while no"
        " gateway is.",
        "seaway-services",
    )
    yield Alert(
        "SeawayServiceGone",
        f"group by (service) (max_over_time(seaway_build_info[{day}]))"
        " unless on (service) seaway_build_info",
        5 * MINUTE,
        "page",
        "Nobody has heard of {{ $labels.service }}",
        "Within the last day there was a process of {{ $labels.service }}, and now Prometheus"
        " reaches none.",
        "seaway-services",
    )
    others = f'grpc_method!="{SIGN_UP}"'
    yield Alert(
        "SeawayGrpcErrors",
        f'sum by (grpc_method) (rate(grpc_server_handled_total{{{others},grpc_code=~"{OURS}"}}'
        f"[{ten}])) / sum by (grpc_method) (rate(grpc_server_handled_total{{{others}}}[{ten}]))"
        " > 0.05",
        10 * MINUTE,
        "ticket",
        "{{ $labels.grpc_method }} fails",
        "{{ $value | humanizePercentage }} of the calls fail by our own fault.",
        "seaway-grpc",
    )
    yield Alert(
        "SeawayEventLoopSlow",
        "histogram_quantile(0.99, sum by (service, le)"
        f" (rate(seaway_event_loop_lag_seconds_bucket[{ten}]))) > 0.5",
        15 * MINUTE,
        "ticket",
        "{{ $labels.service }} is late for everything",
        "One time in a hundred its event loop is {{ $value | humanizeDuration }} late: it has too"
        " little processor, or a handler computes too long.",
        "seaway-services",
    )


def _of_durables(clock: Clock) -> Iterator[Alert]:
    five, ten = clock.lasting(5 * MINUTE), clock.lasting(10 * MINUTE)
    away = f"avg_over_time(seaway_breaker_open[{five}]) > 0.5"
    unless_away = f"unless on (durable) max by (durable) ({away})"
    # While the monitor sees nothing its figures are old, and say nothing.
    fresh = f"and on () time() - max(seaway_looked_timestamp_seconds) < {clock.seconds(120)}"
    yield Alert(
        "SeawayDependencyAway",
        f"max by (service, durable) ({away})",
        0,
        "ticket",
        "What {{ $labels.service }} needs is away",
        "{{ $labels.durable }} fetches nothing but a message now and then, because its database,"
        " mail server, CRM or object store does not answer. Messages wait, and none is given up.",
        "seaway-services",
    )
    yield Alert(
        "SeawayNobodyConsumes",
        f"max by (durable) (seaway_durable_pulled) == 0 {fresh}",
        5 * MINUTE,
        "ticket",
        "Nobody fetches from {{ $labels.durable }}",
        "No replica of its service asks the broker for messages.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayConsumerStalled",
        "(max by (durable) (seaway_drain_seconds) == Inf and on (durable)"
        f" max by (durable) (seaway_durable_pulled) == 1) {unless_away} {fresh}",
        5 * MINUTE,
        "ticket",
        "{{ $labels.durable }} gets nothing done",
        "Messages wait and somebody fetches, but none was settled within a minute.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayOldestMessageTooOld",
        f"max by (durable) (seaway_lag_seconds) > {clock.seconds(300)} {unless_away} {fresh}",
        5 * MINUTE,
        "ticket",
        "{{ $labels.durable }} is behind",
        "The oldest message that it has not settled is {{ $value | humanizeDuration }} old.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayDrainTooSlow",
        f"((max by (durable) (seaway_drain_seconds) > {clock.seconds(900)}) < Inf and on (durable)"
        f" max by (durable) (deriv(seaway_lag_seconds[{ten}])) > 0) {unless_away} {fresh}",
        10 * MINUTE,
        "ticket",
        "{{ $labels.durable }} does not keep up",
        "At this rate it needs {{ $value | humanizeDuration }} for what waits, and it falls"
        " behind.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayAckPendingSaturated",
        "max by (durable) (seaway_ack_pending_messages / seaway_max_ack_pending_messages) > 0.9"
        f" {fresh}",
        10 * MINUTE,
        "ticket",
        "{{ $labels.durable }} has as much in hand as it may",
        "At its limit the broker delivers no more, however many replicas there are.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayRedeliveriesHigh",
        f'(sum by (durable) (rate(seaway_messages_settled_total{{outcome="retried"}}[{ten}]))'
        f" / sum by (durable) (rate(seaway_messages_settled_total[{ten}])) > 0.2) {unless_away}",
        15 * MINUTE,
        "ticket",
        "{{ $labels.durable }} tries again and again",
        "{{ $value | humanizePercentage }} of what it settles fails and comes again.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayDeadLetters",
        "max by (durable) (seaway_dead_letter_messages) > 0",
        MINUTE,
        "ticket",
        "{{ $value }} messages of {{ $labels.durable }} wait for a person",
        "They were set aside because they cannot be handled; the rest goes on.",
        "seaway-event-bus",
    )


def _of_what_is_kept(clock: Clock) -> Iterator[Alert]:
    ten = clock.lasting(10 * MINUTE)
    yield Alert(
        "SeawayUnaccounted",
        "max by (durable, kind) (seaway_unaccounted_messages) > 0",
        5 * MINUTE,
        "page",
        "{{ $labels.durable }}: {{ $labels.kind }}",
        "{{ $value }} messages that were accepted are not accounted for.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayStreamNearLimit",
        "max by (stream) (seaway_stream_bytes / seaway_stream_max_bytes) > 0.7",
        5 * MINUTE,
        "page",
        "The stream {{ $labels.stream }} is {{ $value | humanizePercentage }} full",
        "From 80 % on nobody can sign up.",
        "seaway-event-bus",
    )
    yield Alert(
        "SeawayMonitorBlind",
        f"time() - max(seaway_looked_timestamp_seconds) > {clock.seconds(300)}"
        " unless on () min(seaway_nats_connected) == 0",
        MINUTE,
        "ticket",
        "The monitor sees nothing",
        "It has not looked at the broker for {{ $value | humanizeDuration }}, so that nothing is"
        " known of lag and dead letters.",
        "seaway-services",
    )
    yield Alert(
        "SeawayAuditOverdue",
        f"time() - max(seaway_audit_timestamp_seconds) > {clock.seconds(HOUR)}",
        15 * MINUTE,
        "ticket",
        "Nobody knows whether everything is accounted for",
        "No audit was complete for {{ $value | humanizeDuration }}.",
        "seaway-services",
    )
    yield Alert(
        "SeawayCrmThrottled",
        f'sum(rate(seaway_crm_calls_total{{status="429"}}[{ten}]))'
        f" / sum(rate(seaway_crm_calls_total[{ten}])) > 0.1",
        15 * MINUTE,
        "ticket",
        "The CRM says that we ask too often",
        "It refuses {{ $value | humanizePercentage }} of our calls.",
        "seaway-services",
    )
    yield Alert(
        "SeawayWarehouseUpkeepFails",
        f"sum(increase(seaway_warehouse_upkeep_failed_total[{clock.lasting(HOUR)}])) > 2.5",
        0,
        "ticket",
        "The warehouse is not tidied up",
        "Three rounds of upkeep failed within an hour: files pile up, and what is to be forgotten"
        " is not deleted.",
        "seaway-services",
    )
