"""Dashboards as Grafana reads them, built from what they have to say.

A dashboard is rows of panels; a panel asks Prometheus something, and says what to do when it is
red. Everything is asked of `$datasource`, of the processes chosen by `$job` and `$instance`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

type Json = dict[str, Any]
type Kind = Literal["stat", "timeseries", "table", "heatmap"]

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job=~"$job",instance=~"$instance"'
RATE = "$__rate_interval"
RED = {"color": "red"}


def of(metric: str, *matchers: str) -> str:
    """Return a metric of the processes that are chosen, and of what else has to match."""
    return f"{metric}{{{','.join((CHOSEN, *matchers))}}}"


def rate(metric: str, *matchers: str) -> str:
    """Return by how much a counter grows in a second."""
    return f"rate({of(metric, *matchers)}[{RATE}])"


def quantile(share: float, histogram: str, by: str = "", *matchers: str) -> str:
    """Return what so large a share of a histogram's values is below, for each of `by`."""
    buckets = rate(f"{histogram}_bucket", *matchers)
    labels = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


def increase(metric: str, *matchers: str) -> str:
    """Return by how much a counter grows from one point of a picture to the next."""
    return f"increase({of(metric, *matchers)}[{RATE}])"


@dataclass(frozen=True, slots=True)
class Query:
    """A question to Prometheus, and what its answers are called."""

    expression: str
    legend: str = ""


def each(aggregate: str, by: str, expression: str) -> Query:
    """Ask for the sum, max … of each value of some labels, and call it by those values."""
    return Query(f"{aggregate} by ({by}) ({expression})", _called_by(by))


def slowest(share: float, histogram: str, by: str) -> Query:
    """Ask what so large a share of a histogram's values is below, for each value of a label."""
    return Query(quantile(share, histogram, by), _called_by(by))


def proportion(by: str, part: str, whole: str) -> Query:
    """Ask how much of the whole a part is, where there is any, for each value of a label."""
    asked = f"sum by ({by}) ({part}) / (sum by ({by}) ({whole}) > 0)"
    return Query(asked, _called_by(by))


def _called_by(labels: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture."""

    title: str
    says: str
    """What it shows, and what to do when it is red."""
    unit: str
    """As Grafana calls it: s, short, percentunit, reqps, bytes."""
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 8
    red_from: float | None = None
    """From which value on it is red."""
    red_below: float | None = None

    @property
    def height(self) -> int:
        """Of 4 a figure, of 8 a picture."""
        return 4 if self.kind == "stat" else 8

    def json(self, number: int, x: int, y: int) -> Json:
        """Return it as Grafana reads it, at a place."""
        merged = [{"id": "merge", "options": {}}] if self.kind == "table" else []
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.says,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(*each) for each in enumerate(self.queries)],
            "fieldConfig": {
                "defaults": {"unit": self.unit, "thresholds": self._thresholds()},
                "overrides": [],
            },
            "options": self._options(),
            "transformations": merged,
        }

    def _target(self, number: int, query: Query) -> Json:
        return {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
            "range": self.kind != "table",
            "instant": self.kind == "table",
            "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
            # A point leads to the trace that it counts.
            "exemplar": "_bucket" in query.expression,
        }

    def _thresholds(self) -> Json:
        steps: list[Json] = [{"color": "green", "value": None}]
        if self.red_from is not None:
            steps.append({**RED, "value": self.red_from})
        if self.red_below is not None:
            steps = [{**RED, "value": None}, {"color": "green", "value": self.red_below}]
        return {"mode": "absolute", "steps": steps}

    def _options(self) -> Json:
        if self.kind == "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
        if self.kind == "timeseries":
            return {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["last"]}}
        return {}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other, under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of pictures that answers one question."""

    uid: str
    title: str
    answers: str
    rows: Sequence[Row] = field(default_factory=list)

    def text(self) -> str:
        """Return it as a file that Grafana reads."""
        return json.dumps(self.json(), indent=1, ensure_ascii=False) + "\n"

    def json(self) -> Json:
        """Return it as Grafana reads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.answers,
            "tags": ["seaway"],
            "editable": False,
            "graphTooltip": 1,
            "schemaVersion": 39,
            "version": 1,
            "refresh": "30s",
            "timezone": "utc",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": [_source(), _variable("job"), _variable("instance")]},
            "annotations": {"list": [_releases()]},
            "links": [
                {"type": "dashboards", "title": "Seaway", "tags": ["seaway"], "asDropdown": True}
            ],
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number, y = 0, 0
        for row in self.rows:
            number += 1
            place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > WIDTH:
                    x, y, height = 0, y + height, 0
                number += 1
                yield panel.json(number, x, y)
                x, height = x + panel.width, max(height, panel.height)
            y += height


def _source() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "refresh": 1,
    }


def _variable(label: str) -> Json:
    within = "" if label == "job" else '{job=~"$job"}'
    asked = f"label_values(seaway_build_info{within}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": asked, "refId": label},
        "definition": asked,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _releases() -> Json:
    """Return a mark in every picture, where another version began to run."""
    return {
        "name": "Releases",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f"count by (service, version) ({of('seaway_build_info')})"
        f" unless count by (service, version) ({of('seaway_build_info')} offset 1m)",
        "titleFormat": "{{service}} {{version}}",
        "step": "60s",
    }
