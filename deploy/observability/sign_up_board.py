"""Can people sign up; and if not, at which stage does it stop."""

from collections.abc import Iterator

from grafana import Dashboard, Panel, Query, Row, of, quantile, rate
from objectives import ANSWERED, OURS, SIGN_UP, WITHIN

METHOD = f'grpc_method="{SIGN_UP}"'
FAILED = f'grpc_code=~"{OURS}"'


def sign_up() -> Dashboard:
    """Return the page for whoever is asked whether it works."""
    return Dashboard(
        "seaway-sign-up",
        "Seaway / Sign-up flow",
        "Can people sign up, and if not, at which stage does it stop?",
        [Row("Now", list(_now())), Row("Stages", list(_stages())), Row("Calls", list(_calls()))],
    )


def _now() -> Iterator[Panel]:
    handled = rate("grpc_server_handled_total", METHOD)
    failed = rate("grpc_server_handled_total", METHOD, FAILED)
    left = f"1 - seaway:sign_up_{ANSWERED.name}:ratio_rate3d / {ANSWERED.budget:g}"
    yield Panel(
        "Outcomes a minute",
        "Sign-ups whose outcome was told. None where there should be some: look at the stages.",
        "short",
        [Query(f"60 * sum({rate('seaway_sign_up_seconds_count')})")],
        "stat",
        4,
    )
    yield Panel(
        "Answered",
        "Calls that did not fail by our own fault. Red: the runbook of"
        " SeawaySignUpErrorBudgetBurn.",
        "percentunit",
        [Query(f"1 - sum({failed}) / sum({handled})")],
        "stat",
        4,
        red_below=ANSWERED.target,
    )
    yield Panel(
        "Outcome within",
        "From the call to its outcome, for 95 in 100. Red: find the slow stage below.",
        "s",
        [Query(quantile(0.95, "seaway_sign_up_seconds"))],
        "stat",
        4,
        red_from=WITHIN,
    )
    yield Panel(
        "Error budget left",
        "Of what three days may fail. Red: it is used up; release nothing risky.",
        "percentunit",
        [Query(left)],
        "stat",
        4,
        red_below=0,
    )
    yield Panel(
        "Dead letters",
        "Messages that wait for a person. Red: `seaway dead-letters list`.",
        "short",
        [Query(f"sum({of('seaway_dead_letter_messages')})")],
        "stat",
        4,
        red_from=1,
    )
    yield Panel(
        "Oldest unhandled",
        "How old the oldest message is that some durable has not settled. Red: see Event bus.",
        "s",
        [Query(f"max({of('seaway_lag_seconds')})")],
        "stat",
        4,
        red_from=300,
    )


def _stages() -> Iterator[Panel]:
    count = rate("seaway_flow_stage_seconds_count")
    yield Panel(
        "Each stage",
        "From a message stored to its reply stored; a stage is named after the reply. The slowest"
        " one is where to look.",
        "s",
        [
            Query(f"sum by (stage) ({count})", "a second"),
            Query(quantile(0.5, "seaway_flow_stage_seconds", "stage"), "p50"),
            Query(quantile(0.95, "seaway_flow_stage_seconds", "stage"), "p95"),
        ],
        "table",
        12,
    )
    yield Panel(
        "Each durable",
        "What waits, how old it is, and what was set aside. What grows is behind.",
        "short",
        [
            Query(f"max by (durable) ({of('seaway_lag_seconds')})", "lag"),
            Query(f"max by (durable) ({of('seaway_pending_messages')})", "pending"),
            Query(f"max by (durable) ({of('seaway_drain_seconds')})", "drained in"),
            Query(f"max by (durable) ({of('seaway_dead_letter_messages')})", "dead letters"),
        ],
        "table",
        12,
    )
    yield Panel(
        "Stages over time",
        "The same for 95 in 100, over time: when did it begin to be slow?",
        "s",
        [Query(quantile(0.95, "seaway_flow_stage_seconds", "stage"), "{{stage}}")],
        width=12,
    )
    buckets = of("seaway_sign_up_seconds_bucket")
    yield Panel(
        "How long people wait",
        "Every outcome told, by how long it took. A dot is a traced one: click it.",
        "s",
        [Query(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}")],
        "heatmap",
        12,
    )


def _calls() -> Iterator[Panel]:
    yield Panel(
        "Outcomes",
        "Confirmed, or rejected because the address is taken. Many rejected ones: somebody"
        " guesses addresses.",
        "ops",
        [Query(f"sum by (outcome) ({rate('seaway_sign_up_seconds_count')})", "{{outcome}}")],
    )
    yield Panel(
        "Ends of calls",
        "Calls to sign up by their code. Unavailable: the broker, or no outcome within a minute.",
        "reqps",
        [
            Query(
                f"sum by (grpc_code) ({rate('grpc_server_handled_total', METHOD)})",
                "{{grpc_code}}",
            )
        ],
    )
    yield Panel(
        "Open streams",
        "Those who wait or watch now. It grows while no outcomes come.",
        "short",
        [Query(f"sum by (grpc_method) ({of('seaway_streams_active')})", "{{grpc_method}}")],
    )
