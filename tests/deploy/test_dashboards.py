"""The dashboards keep Grafana's own rules, and name only what there is.

The rules are those of Grafana's dashboard-linter, which is a program of its own; each keeps its
name here.
"""

import json
import re

import pytest
import yaml
from catalogue import DECLARED, catalogue, known_series
from promtool import needed, promtool
from watched import ALERTS, DASHBOARDS, RECORDED, asked, expressions, panels_of

LARGEST = 200_000
"""Bytes of one: a ConfigMap holds a million."""

every_dashboard = pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS.keys())


PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, board in DASHBOARDS.items()
    for panel in panels_of(board)
]
every_panel = pytest.mark.parametrize("panel", PANELS)


def variable(board, name):
    [found] = [v for v in board["templating"]["list"] if v["name"] == name]
    return found


def test_there_are_five_and_each_is_found_by_its_name():
    assert len(DASHBOARDS) == 5
    for uid, board in DASHBOARDS.items():
        assert board["uid"] == uid
        assert board["title"].startswith("Seaway / ")
        assert len(json.dumps(board)) < LARGEST


@every_dashboard
def test_template_datasource(board):
    source = variable(board, "datasource")
    assert (source["type"], source["query"], source["label"]) == (
        "datasource",
        "prometheus",
        "Data source",
    )


@every_dashboard
@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_and_template_instance(board, name):
    chosen = variable(board, name)
    assert chosen["type"] == "query"
    assert chosen["datasource"]["uid"] == "${datasource}"
    assert chosen["label"] == name.capitalize()
    assert (chosen["multi"], chosen["includeAll"], chosen["allValue"]) == (True, True, ".+")


@every_dashboard
def test_template_on_time_change_reload(board):
    assert all(v["refresh"] == 2 for v in board["templating"]["list"] if v["type"] == "query")


@every_dashboard
def test_template_label_promql(board):
    for chosen in board["templating"]["list"]:
        if chosen["type"] == "query":
            assert re.fullmatch(
                r'label_values\(seaway_build_info(\{job=~"\$job"\})?, \w+\)', chosen["definition"]
            )


@every_dashboard
def test_uneditable_dashboard(board):
    assert board["editable"] is False


@every_dashboard
def test_places_do_not_overlap(board):
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)


@every_dashboard
def test_a_release_is_marked(board):
    [releases] = board["annotations"]["list"]
    assert "seaway_build_info" in releases["expr"]


@every_panel
def test_panel_title_description(panel):
    assert panel["title"]
    assert panel["description"].endswith((".", "?"))


@every_panel
def test_panel_datasource(panel):
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@every_panel
def test_panel_units(panel):
    assert panel["fieldConfig"]["defaults"]["unit"]


@every_panel
def test_panel_no_targets(panel):
    assert panel["targets"]


@every_panel
def test_target_job_and_target_instance(panel):
    for expression in expressions(panel):
        for metric, matchers in re.findall(r"\b([a-z]\w*(?::\w+)*)\{([^}]*)\}", expression):
            assert 'job=~"$job"' in matchers, metric
            assert 'instance=~"$instance"' in matchers, metric
        # What is recorded is of all together, and has neither.
        bare = re.findall(r"\b(?:seaway|grpc|process)_\w+\b(?![{\w])", expression)
        assert [n for n in bare if n in known_series() and f"{n}{{" not in expression] == []


@every_panel
def test_target_rate_interval(panel):
    for expression in expressions(panel):
        assert set(re.findall(r"\[([^\]]+)\]", expression)) <= {"$__rate_interval"}


@every_panel
def test_target_counter_agg(panel):
    for expression in expressions(panel):
        counters = re.findall(r"(\w+\()?\b(\w+_(?:total|bucket|count|sum))\{", expression)
        assert all(call in ("rate(", "increase(") for call, _ in counters)


@needed
def test_target_promql(tmp_path):
    told = [
        {"record": f"panel:{number}", "expr": asked(expression)}
        for number, expression in enumerate(
            e for panel in PANELS for e in expressions(panel.values[0])
        )
    ]
    assert len(told) > 60
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": told}]}))
    promtool("check", "rules", path)


def named_in(text):
    labels = {"grpc_method", "grpc_code", "grpc_service", "grpc_type"}
    return set(re.findall(r"\b(?:seaway|grpc|process)_[a-z0-9_]+\b", text)) - labels


def test_panels_name_only_metrics_that_exist():
    text = "\n".join(e for panel in PANELS for e in expressions(panel.values[0]))
    assert set(re.findall(r"seaway:\w+:\w+", text)) <= RECORDED
    assert named_in(text) <= known_series()


def test_every_metric_is_in_a_panel_or_an_alert():
    shown = named_in("\n".join(e for panel in PANELS for e in expressions(panel.values[0])))
    shown |= named_in("\n".join(rule["expr"] for rule in ALERTS.values()))
    unseen = {
        metric.name
        for metrics in catalogue().values()
        for metric in metrics
        if not shown & set(metric.series)
    }
    assert unseen == {"seaway_stream_max_age_seconds"}  # it is set, and hardly ever changes
    assert len(DECLARED) == len(catalogue())


def test_every_alert_leads_to_a_dashboard_that_exists():
    for rule in ALERTS.values():
        assert rule["annotations"]["dashboard"].removeprefix("/d/") in DASHBOARDS
