"""Whether we keep what we promised, and how fast the budget is used up."""

from collections.abc import Iterator

from durations import as_written
from grafana import Dashboard, Panel, Query, Row, rate
from objectives import OBJECTIVES, OURS, WINDOWS, Objective

FAILED = f'grpc_code=~"{OURS}"'


def slo() -> Dashboard:
    """Return the page for whoever decides whether to release."""
    return Dashboard(
        "seaway-slo",
        "Seaway / Objectives",
        "Do we keep what we promised, and how fast is the budget used up?",
        [Row(objective.says, list(_objective(objective))) for objective in OBJECTIVES]
        + [Row("Who is to blame", list(_blame()))],
    )


def _objective(objective: Objective) -> Iterator[Panel]:
    yield Panel(
        f"Budget left ({objective.name})",
        "Of three days. Below 0: more went wrong than promised; release nothing risky.",
        "percentunit",
        [Query(f"1 - seaway:sign_up_{objective.name}:ratio_rate3d / {objective.budget:g}")],
        "stat",
        6,
        red_below=0,
    )
    yield Panel(
        f"Burn rate ({objective.name})",
        "1: the budget lasts exactly a month. 14.4 for an hour, or 6 for six, is a page.",
        "short",
        [
            Query(f"{objective.recorded(window)} / {objective.budget:g}", as_written(window))
            for window in WINDOWS
        ],
        width=18,
        red_from=6,
    )


def _blame() -> Iterator[Panel]:
    failed = rate("grpc_server_handled_total", FAILED)
    yield Panel(
        "Failures by method and code",
        "The most frequent ones that are our own fault.",
        "reqps",
        [
            Query(
                f"topk(5, sum by (grpc_method, grpc_code) ({failed}))",
                "{{grpc_method}} {{grpc_code}}",
            )
        ],
        width=12,
    )
    yield Panel(
        "Failures by gateway",
        "One gateway alone: restart it. All of them: what they share.",
        "reqps",
        [Query(f"topk(5, sum by (instance) ({failed}))", "{{instance}}")],
        width=12,
    )
