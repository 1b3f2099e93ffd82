"""The rules and dashboards as they are committed."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy/helm/backbone/files"
RULES = sorted((FILES / "rules").glob("*.yaml"))
GROUPS = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
EACH_RULE = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EACH_RULE if "alert" in rule}
RECORDED = {rule["record"] for rule in EACH_RULE if "record" in rule}
DASHBOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((FILES / "dashboards").glob("*.json"))
}


def panels_of(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(panel):
    return [target["expr"] for target in panel["targets"]]


def asked(expression, interval="5m"):
    """A query as Prometheus is asked it, all processes chosen."""
    chosen = expression.replace("$job", ".+").replace("$instance", ".+")
    return chosen.replace("$__rate_interval", interval)
