"""Every alert: when it fires, when not, and that it ends. Asked of Prometheus's own promtool."""

import re

import pytest
import yaml
from catalogue import known_series
from durations import Clock
from gateway import measuring
from objectives import OBJECTIVES, SIGN_UP, WITHIN
from promtool import clock, counter, gauge, needed, promtool, what_fires
from rules import rules
from watched import ALERTS, EACH_RULE, RECORDED, ROOT, RULES

RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()

D = 'durable="crm-users"'
OF_D = {"durable": "crm-users"}
DURABLE = f'service="crm",message="User",{D}'
LOOKS = {"seaway_looked_timestamp_seconds": clock((True, 120))}


def handled(code, *phases, method=SIGN_UP):
    name = f'grpc_server_handled_total{{grpc_method="{method}",grpc_code="{code}"}}'
    return {name: counter(*phases)}


def told(fast, *phases):
    within = 'seaway_sign_up_seconds_bucket{le="2.0",outcome="confirmed"}'
    return {
        within: counter(*fast),
        'seaway_sign_up_seconds_count{outcome="confirmed"}': counter(*phases),
    }


def settled(outcome, *phases):
    name = f'seaway_messages_settled_total{{{DURABLE},outcome="{outcome}"}}'
    return {name: counter(*phases)}


def late(le, *phases):
    return {f'seaway_event_loop_lag_seconds_bucket{{service="crm",le="{le}"}}': counter(*phases)}


def called(status, *phases):
    return {f'seaway_crm_calls_total{{status="{status}"}}': counter(*phases)}


CASES = {  # its series; quiet at the first minute, firing at the second, over at the third; labels
    "SeawaySignUpErrorBudgetBurn": (
        handled("OK", (60, 60), (0, 30), (60, 90))
        | handled("Unavailable", (0, 60), (60, 30), (0, 90)),
        (60, 70, 150), {},
    ),
    "SeawaySignUpErrorBudgetBurnSlowly": (
        handled("OK", (995, 480)) | handled("Internal", (5, 60), (0, 420)),
        (15, 30, 450), {},
    ),
    "SeawaySignUpLatencyBudgetBurn": (
        told([(60, 60), (0, 30), (60, 90)], (60, 180)), (60, 70, 150), {},
    ),
    "SeawaySignUpLatencyBudgetBurnSlowly": (
        told([(96, 60), (100, 420)], (100, 480)), (15, 30, 450), {},
    ),
    "SeawayBrokerAway": (
        {'seaway_nats_connected{service="crm"}': gauge((1, 10), (0, 10), (1, 10))},
        (10, 13, 22), {"service": "crm"},
    ),
    "SeawayServiceGone": (
        {'seaway_build_info{service="crm",version="1"}':
         gauge((1, 10), ("stale", 1), ("_", 19), (1, 10))},
        (14, 18, 32), {"service": "crm"},
    ),
    "SeawayGrpcErrors": (
        handled("OK", (90, 90), method="GetSignUp")
        | handled("Unavailable", (0, 20), (10, 30), (0, 40), method="GetSignUp"),
        (25, 45, 75), {"grpc_method": "GetSignUp"},
    ),
    "SeawayEventLoopSlow": (
        late("0.5", (120, 20), (90, 40), (120, 40)) | late("1.0", (120, 100))
        | late("+Inf", (120, 100)),
        (30, 50, 90), {"service": "crm"},
    ),
    "SeawayDependencyAway": (
        {f"seaway_breaker_open{{{DURABLE}}}": gauge((0, 10), (1, 20), (0, 20))},
        (11, 16, 35), {"service": "crm", **OF_D},
    ),
    "SeawayNobodyConsumes": (
        LOOKS | {f"seaway_durable_pulled{{{D}}}": gauge((1, 10), (0, 20), (1, 20))},
        (14, 18, 32), OF_D,
    ),
    "SeawayConsumerStalled": (
        LOOKS | {f"seaway_durable_pulled{{{D}}}": gauge((1, 50)),
                 f"seaway_drain_seconds{{{D}}}": gauge((0, 10), ("Inf", 20), (5, 20))},
        (14, 18, 32), OF_D,
    ),
    "SeawayOldestMessageTooOld": (
        LOOKS | {f"seaway_lag_seconds{{{D}}}": gauge((1, 10), (400, 20), (0, 20))},
        (14, 18, 32), OF_D,
    ),
    "SeawayDrainTooSlow": (
        LOOKS | {f"seaway_lag_seconds{{{D}}}": counter((0, 10), (5, 30), (0, 30)),
                 f"seaway_drain_seconds{{{D}}}": gauge((0, 10), (2000, 30), (5, 30))},
        (15, 25, 45), OF_D,
    ),
    "SeawayAckPendingSaturated": (
        LOOKS | {f"seaway_ack_pending_messages{{{D}}}": gauge((10, 10), (950, 20), (10, 20)),
                 f"seaway_max_ack_pending_messages{{{D}}}": gauge((1000, 50))},
        (15, 25, 35), OF_D,
    ),
    "SeawayRedeliveriesHigh": (
        settled("acked", (70, 90)) | settled("retried", (0, 10), (30, 40), (0, 40)),
        (20, 40, 75), OF_D,
    ),
    "SeawayDeadLetters": (
        {f"seaway_dead_letter_messages{{{D}}}": gauge((0, 10), (2, 10), (0, 10))},
        (9, 13, 22), OF_D,
    ),
    "SeawayUnaccounted": (
        {f'seaway_unaccounted_messages{{{D},kind="lost delivery"}}':
         gauge((0, 10), (1, 20), (0, 10))},
        (14, 18, 32), {**OF_D, "kind": "lost delivery"},
    ),
    "SeawayStreamNearLimit": (
        {'seaway_stream_bytes{stream="USERS"}': gauge((60, 10), (71, 20), (60, 10)),
         'seaway_stream_max_bytes{stream="USERS"}': gauge((100, 40))},
        (14, 18, 32), {"stream": "USERS"},
    ),
    "SeawayMonitorBlind": (
        {"seaway_looked_timestamp_seconds": clock((True, 10), (False, 20), (True, 20)),
         'seaway_nats_connected{service="crm"}': gauge((1, 50))},
        (13, 18, 32), {},
    ),
    "SeawayAuditOverdue": (
        {"seaway_audit_timestamp_seconds": clock((True, 10), (False, 100), (True, 20))},
        (80, 90, 115), {},
    ),
    "SeawayCrmThrottled": (
        called("200", (80, 90)) | called("429", (0, 10), (20, 40), (0, 40)),
        (20, 40, 75), {},
    ),
    "SeawayWarehouseUpkeepFails": (
        {"seaway_warehouse_upkeep_failed_total": counter((0, 60), (0.1, 60), (0, 90))},
        (70, 115, 200), {},
    ),
}  # fmt: skip


def alert(name, **labels):
    return {"alertname": name, "severity": ALERTS[name]["labels"]["severity"], **labels}


def test_every_alert_has_a_case_and_every_case_an_alert():
    assert CASES.keys() == ALERTS.keys()


@needed
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_alone_when_it_should_and_not_before_nor_after(name, tmp_path):
    series, (before, during, after), labels = CASES[name]
    # Of a budget that burnt fast the slow burn is told of, too, for longer.
    left = [alert(f"{name}Slowly")] if f"{name}Slowly" in ALERTS else []
    fires = {before: [], during: [alert(name, **labels)], after: left}
    what_fires(tmp_path, RULES, series, fires)


@needed
def test_a_durable_whose_dependency_is_away_is_not_also_behind(tmp_path):
    series = LOOKS | {
        f"seaway_breaker_open{{{DURABLE}}}": gauge((0, 10), (1, 40)),
        f"seaway_lag_seconds{{{D}}}": counter((0, 10), (60, 40)),
        f"seaway_drain_seconds{{{D}}}": gauge((0, 10), ("Inf", 40)),
        f"seaway_durable_pulled{{{D}}}": gauge((1, 50)),
    }
    series |= settled("acked", (60, 10), (0, 40)) | settled("retried", (0, 10), (60, 40))
    away = alert("SeawayDependencyAway", service="crm", **OF_D)
    what_fires(tmp_path, RULES, series, {45: [away]})


@needed
def test_what_the_monitor_saw_long_ago_is_not_told(tmp_path):
    series = {
        "seaway_looked_timestamp_seconds": clock((True, 10), (False, 40)),
        'seaway_nats_connected{service="monitor"}': gauge((1, 10), (0, 40)),
        f"seaway_lag_seconds{{{D}}}": gauge((0, 9), (400, 41)),
        f"seaway_durable_pulled{{{D}}}": gauge((1, 9), (0, 41)),
    }
    away = alert("SeawayBrokerAway", service="monitor")
    what_fires(tmp_path, RULES, series, {40: [away]})


@needed
def test_where_nobody_signs_up_no_budget_burns(tmp_path):
    series = handled("OK", (0, 90)) | handled("Unavailable", (0, 90)) | told([(0, 90)], (0, 90))
    what_fires(tmp_path, RULES, series, {80: []})


@needed
def test_prometheus_takes_the_rules_and_those_of_a_faster_clock(tmp_path):
    promtool("check", "rules", *RULES)
    for name, text in rules(Clock(1 / 60)).items():
        (tmp_path / name).write_text(text)
        promtool("check", "rules", tmp_path / name)


def in_seconds(duration):
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h|d)", duration).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def test_a_faster_clock_changes_nothing_but_durations():
    fast = yaml.safe_load(rules(Clock(1 / 60))["alerts.yaml"])["groups"][0]["rules"]
    assert len(fast) == len(ALERTS)
    for rule in fast:
        usual = ALERTS[rule["alert"]]
        assert rule["annotations"] == usual["annotations"]
        assert in_seconds(usual["for"]) == pytest.approx(60 * in_seconds(rule["for"]))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_about_and_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    page, _, anchor = notes["runbook_url"].partition("#")
    assert (ROOT / page).exists()
    assert anchor == name.lower()
    assert f"\n## {name}\n" in RUNBOOKS


def test_every_runbook_has_its_alert():
    assert set(re.findall(r"^## (Seaway\w+)$", RUNBOOKS, re.MULTILINE)) == ALERTS.keys()


def test_rules_name_only_what_there_is():
    named = {
        n for rule in EACH_RULE for n in re.findall(r"\b(?:seaway|grpc)[a-z0-9_:]+", rule["expr"])
    }
    assert {n for n in named if ":" in n} <= RECORDED
    labels = {"grpc_method", "grpc_code"}
    assert {n for n in named if ":" not in n} - labels <= known_series()


def test_what_is_fast_enough_is_a_bucket():
    assert WITHIN in measuring.SIGN_UP._upper_bounds
    assert all(0 < objective.budget < 0.1 for objective in OBJECTIVES)


@pytest.mark.parametrize("page", ["runbooks.md", "operate.md"])
def test_pages_name_only_metrics_that_exist(page):
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(r"`((?:seaway|grpc_server)_[a-z_]+)", text))
    assert {n for n in named if not n.endswith("_")} <= known_series() | {
        n.rpartition("_")[0] for n in known_series()
    }
