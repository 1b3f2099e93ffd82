"""Whether we keep what we promised, and how fast the budget is used up."""

from durations import as_written
from grafana import Dashboard, Panel, Query, Row, rate
from objectives import OBJECTIVES, OURS, WINDOWS, Objective

FAILED = rate("grpc_server_handled_total", f'grpc_code=~"{OURS}"')
BY_CODE = f"topk(5, sum by (grpc_method, grpc_code) ({FAILED}))"


def kept(objective: Objective) -> list[Panel]:
    """Return what there is to see of one promise."""
    return [
        Panel(
            f"Budget left ({objective.name})",
            "Of three days. Below 0: more went wrong than promised; release nothing risky.",
            "percentunit",
            [Query(objective.left)],
            "stat",
            6,
            red_below=0,
        ),
        Panel(
            f"Burn rate ({objective.name})",
            "1: the budget lasts exactly a month. 14.4 for an hour, or 6 for six, is a page.",
            "short",
            [
                Query(f"{objective.recorded(window)} / {objective.budget:g}", as_written(window))
                for window in WINDOWS
            ],
            width=18,
            red_from=6,
        ),
    ]


BLAME = [
    Panel(
        "Failures by method and code",
        "The most frequent ones that are our own fault.",
        "reqps",
        [Query(BY_CODE, "{{grpc_method}} {{grpc_code}}")],
        width=12,
    ),
    Panel(
        "Failures by gateway",
        "One gateway alone: restart it. All of them: what they share.",
        "reqps",
        [Query(f"topk(5, sum by (instance) ({FAILED}))", "{{instance}}")],
        width=12,
    ),
]

SLO = Dashboard(
    "seaway-slo",
    "Seaway / Objectives",
    "Do we keep what we promised, and how fast is the budget used up?",
    [
        *(Row(objective.says, kept(objective)) for objective in OBJECTIVES),
        Row("Who is to blame", BLAME),
    ],
)
"""For whoever decides whether to release."""
