"""Can people sign up; and if not, at which stage does it stop."""

from grafana import Dashboard, Panel, Query, Row, each, increase, of, quantile, rate, slowest
from objectives import ANSWERED, OURS, SIGN_UP, WITHIN

METHOD = f'grpc_method="{SIGN_UP}"'
HANDLED = rate("grpc_server_handled_total", METHOD)
FAILED = rate("grpc_server_handled_total", METHOD, f'grpc_code=~"{OURS}"')
TOLD = rate("seaway_sign_up_seconds_count")
STAGE = "seaway_flow_stage_seconds"


def figure(
    title: str,
    says: str,
    unit: str,
    asked: str,
    *,
    red_from: float | None = None,
    red_below: float | None = None,
) -> Panel:
    """Return a panel that is one number."""
    return Panel(title, says, unit, [Query(asked)], "stat", 4, red_from, red_below)


NOW = [
    figure(
        "Outcomes a minute",
        "Sign-ups whose outcome was told. None where there should be some: look at the stages.",
        "short",
        f"60 * sum({TOLD})",
    ),
    figure(
        "Answered",
        "Calls that did not fail by our own fault. Red: the runbook of"
        " SeawaySignUpErrorBudgetBurn.",
        "percentunit",
        f"1 - sum({FAILED}) / sum({HANDLED})",
        red_below=ANSWERED.target,
    ),
    figure(
        "Outcome within",
        "From the call to its outcome, for 95 in 100. Red: find the slow stage below.",
        "s",
        quantile(0.95, "seaway_sign_up_seconds"),
        red_from=WITHIN,
    ),
    figure(
        "Error budget left",
        "Of what three days may fail. Red: it is used up; release nothing risky.",
        "percentunit",
        ANSWERED.left,
        red_below=0,
    ),
    figure(
        "Dead letters",
        "Messages that wait for a person. Red: `seaway dead-letters list`.",
        "short",
        f"sum({of('seaway_dead_letter_messages')})",
        red_from=1,
    ),
    figure(
        "Oldest unhandled",
        "How old the oldest message is that some durable has not settled. Red: see Event bus.",
        "s",
        f"max({of('seaway_lag_seconds')})",
        red_from=300,
    ),
]

STAGES = [
    Panel(
        "Each stage",
        "From a message stored to its reply stored; a stage is named after the reply. The slowest"
        " one is where to look.",
        "s",
        [
            Query(f"sum by (stage) ({rate(f'{STAGE}_count')})", "a second"),
            Query(quantile(0.5, STAGE, "stage"), "p50"),
            Query(quantile(0.95, STAGE, "stage"), "p95"),
        ],
        "table",
        12,
    ),
    Panel(
        "Each durable",
        "What waits, how old it is, and what was set aside. What grows is behind.",
        "short",
        [
            Query(f"max by (durable) ({of(metric)})", column)
            for metric, column in (
                ("seaway_lag_seconds", "lag"),
                ("seaway_pending_messages", "pending"),
                ("seaway_drain_seconds", "drained in"),
                ("seaway_dead_letter_messages", "dead letters"),
            )
        ],
        "table",
        12,
    ),
    Panel(
        "Stages over time",
        "The same for 95 in 100, over time: when did it begin to be slow?",
        "s",
        [slowest(0.95, STAGE, "stage")],
        width=12,
    ),
    Panel(
        "How long people wait",
        "Every outcome told, by how long it took. A dot is a traced one: click it.",
        "s",
        [each("sum", "le", increase("seaway_sign_up_seconds_bucket"))],
        "heatmap",
        12,
    ),
]

CALLS = [
    Panel(
        "Outcomes",
        "Confirmed, or rejected because the address is taken. Many rejected ones: somebody"
        " guesses addresses.",
        "ops",
        [each("sum", "outcome", TOLD)],
    ),
    Panel(
        "Ends of calls",
        "Calls to sign up by their code. Unavailable: the broker, or no outcome within a minute.",
        "reqps",
        [each("sum", "grpc_code", HANDLED)],
    ),
    Panel(
        "Open streams",
        "Those who wait or watch now. It grows while no outcomes come.",
        "short",
        [each("sum", "grpc_method", of("seaway_streams_active"))],
    ),
]

SIGN_UP_FLOW = Dashboard(
    "seaway-sign-up",
    "Seaway / Sign-up flow",
    "Can people sign up, and if not, at which stage does it stop?",
    [Row("Now", NOW), Row("Stages", STAGES), Row("Calls", CALLS)],
)
"""For whoever is asked whether it works."""
