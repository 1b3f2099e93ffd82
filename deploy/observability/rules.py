"""The rules as Prometheus reads them."""

from collections.abc import Mapping

import yaml
from alerts import ALERTS
from durations import Clock
from objectives import recordings

HEAD = "# Written by deploy/observability/generate.py; `make dashboards` writes it anew.\n"


def rules(clock: Clock) -> dict[str, str]:
    """Return the files of rules, by name: what is recorded, and what is told."""
    recorded = {"name": "seaway-objectives", "rules": list(recordings(clock))}
    told = {"name": "seaway-alerts", "rules": [alert.rule(clock) for alert in ALERTS]}
    return {"objectives.yaml": _file(recorded), "alerts.yaml": _file(told)}


def _file(group: Mapping[str, object]) -> str:
    text: str = yaml.safe_dump({"groups": [dict(group)]}, sort_keys=False, width=10_000)
    return HEAD + text
