"""Prometheus's own tool, from Debian's package `prometheus`."""

import json
import shutil
import subprocess

import pytest

needed = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="needs Prometheus: on Debian, apt-get install prometheus",
)


def promtool(*arguments):
    """Run it; fails with what it says."""
    ran = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def gauge(*phases):
    """A value each minute: each phase is a value, and for how many minutes it is so."""
    return " ".join(str(value) for value, minutes in phases for _ in range(minutes))


def counter(*phases):
    """What has been counted each minute: each phase is a rate per minute, and how long."""
    total, values = 0.0, []
    for rate, minutes in phases:
        for _ in range(minutes):
            values.append(f"{total:g}")
            total += rate
    return " ".join(values)


def clock(*phases):
    """A timestamp each minute: True while it is that of now, False while it stands still."""
    values, now = [], 0
    for goes_on, minutes in phases:
        for _ in range(minutes):
            values.append(now if goes_on else values[-1])
            now += 60
    return " ".join(map(str, values))


def what_fires(folder, rules, series, fires):
    """Check, with promtool, which alerts fire at which minute.

    `series` has values by series, one a minute, `fires` a list of label sets by minute: all that
    fires then, and nothing else.
    """

    def written(labels):
        inner = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
        return f"ALERTS{{{inner}}}"

    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": written({**labels, "alertstate": "firing"}), "value": 1}
                    for labels in expected
                ],
            }
            for minute, expected in fires.items()
        ],
    }
    path = folder / "test.yaml"
    # JSON is YAML.
    path.write_text(json.dumps({"rule_files": [str(r) for r in rules], "tests": [test]}))
    promtool("test", "rules", path)
