"""The charts of backbone and whole system: valid, confined, and as the services need them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from all_settings import SETTINGS
from helm import (
    BACKBONE,
    OPERATORS,
    PROFILES,
    SERVICES,
    SYSTEM,
    VALUES,
    Refused,
    containers,
    golden_text,
    objects_in,
    of_kind,
    pods_of,
    run,
    script,
    system,
    system_text,
)
from locks import ROOT
from restricted import flaws
from schemas import check_kubernetes, is_valid, model_of
from seaway.settings import PREFIX
from watched import ALERTS

GOLDEN = Path(__file__).parent / "golden"
NO_PODS = {"provisioner", "operator"}
DEFINED_BY_OTHERS = {"ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
DEFINED_BY_OTHERS |= {"GRPCRoute", "HTTPRoute"}
every_profile = pytest.mark.parametrize("profile", PROFILES)


@pytest.mark.parametrize("version", [3, 4])
@every_profile
def test_helm_finds_nothing_wrong(profile, version):
    run(version, "lint", "--strict", SYSTEM, "-f", SYSTEM / "profiles" / f"{profile}.yaml")


@every_profile
def test_both_helms_make_the_same_of_it(profile):
    assert system(profile, 3) == system(profile, 4)


@every_profile
def test_every_image_comes_from_the_registry_that_is_named(profile):
    named = ("--set", "global.imageRegistry=registry.example/deep")
    text = system_text(profile, 4, "1.37.0", *named)
    pods = pods_of(objects_in(text))
    images = {one["image"] for pod in pods.values() for one in containers(pod)}
    assert len(images) >= len(SERVICES)
    assert {i for i in images if not i.startswith("registry.example/deep/")} == set()


@pytest.mark.parametrize("kubernetes", ["1.30", "1.37"])
@every_profile
def test_kubernetes_would_accept_it(profile, kubernetes):
    for one in system(profile, kubernetes=f"{kubernetes}.0"):
        if one["kind"] not in DEFINED_BY_OTHERS:
            check_kubernetes(one, kubernetes)


ROUTE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["parentRefs", "hostnames", "rules"],
    "properties": {
        "parentRefs": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
            },
        },
        "hostnames": {"type": "array", "items": {"type": "string", "format": "hostname"}},
        "rules": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "backendRefs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["name", "port"],
                            "properties": {
                                "name": {"type": "string"},
                                "port": {"type": "integer"},
                            },
                        },
                    }
                },
            },
        },
    },
}
"""What we use of a GRPCRoute or HTTPRoute of gateway.networking.k8s.io/v1."""


def test_what_others_define_is_as_they_define_it():
    seen = set()
    for one in [*system("production"), *system("bring-your-own")]:
        seen.add(one["kind"])
        if model := model_of(one["kind"]):
            # Unknown keys are not refused but dropped: so they are looked for on the way back.
            read = model.model_validate(one)
            back = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
            assert back == one
        elif one["kind"] in ("GRPCRoute", "HTTPRoute"):
            assert is_valid(one["spec"], ROUTE)
    rules = {"PrometheusRule"} if (BACKBONE / "files/rules").is_dir() else set()
    assert seen >= DEFINED_BY_OTHERS - {"PrometheusRule"} | rules


@every_profile
def test_every_pod_is_confined(profile):
    pods = pods_of(system(profile))
    assert len(pods) == {"bring-your-own": 7}.get(profile, 8)  # the test's pod, too
    assert [flaw for name, pod in pods.items() for flaw in flaws(name, pod)] == []


@every_profile
def test_it_is_as_it_was_when_somebody_last_looked(profile):
    """After a change: `.venv/bin/python tests/support/golden.py`, and read the difference."""
    assert (GOLDEN / f"{profile}.yaml").read_text() == golden_text(profile)


@every_profile
def test_nothing_is_named_twice(profile):
    names = [(one["kind"], one["metadata"]["name"]) for one in system(profile)]
    assert len(names) == len(set(names))


@every_profile
def test_what_is_not_named_is_not_needed(profile):
    """Every Secret, ConfigMap, claim and account that a pod names is made, or is the person's."""
    objects = system(profile)
    made = {(one["kind"], one["metadata"]["name"]) for one in objects}
    asked = set()
    for pod in pods_of(objects).values():
        asked.add(("ServiceAccount", pod["serviceAccountName"]))
        for volume in pod.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                kind = {"secret": "Secret", "configMap": "ConfigMap"}[next(iter(source))]
                asked.add((kind, next(iter(source.values()))["name"]))
            if claim := volume.get("persistentVolumeClaim"):
                asked.add(("PersistentVolumeClaim", claim["claimName"]))
    missing = {name for kind, name in asked - made}
    if profile == "quickstart":
        assert missing == set()
    else:
        assert missing <= set(
            re.findall(r"seaway-[\w-]+", ROOT.joinpath("docs/operate.md").read_text())
        )


@every_profile
def test_who_may_reach_the_broker_is_who_has_a_name_there(profile):
    objects = system(profile)
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects)}
    known = yaml.safe_load((BACKBONE / "files/permissions.yaml").read_text())["identities"]
    reach = set()
    for name, policy in policies.items():
        ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
        if 4222 in ports:
            reach.add(name.removeprefix("seaway-"))
    assert reach == known.keys() - NO_PODS
    assert reach == {name.removeprefix("seaway-") for name in policies} - {"nats"}
    if profile != "bring-your-own":
        [entry, *_] = policies["seaway-nats"]["ingress"]
        let_in = {
            one["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for one in entry["from"]
        }
        assert let_in == reach


@pytest.mark.parametrize("chart", ["service", "backbone", "seaway"])
def test_the_table_of_values_is_as_it_would_be_written(chart):
    assert (ROOT / f"deploy/helm/{chart}/README.md").read_text() == script("readme").readme(chart)


@pytest.mark.parametrize("profile", [p for p in PROFILES if p != "bring-your-own"])
def test_a_real_broker_accepts_its_configuration(profile, tmp_path):
    objects = system(profile)
    [config] = [c for c in of_kind("ConfigMap", objects) if c["metadata"]["name"] == "seaway-nats"]
    (tmp_path / "nats.conf").write_text(config["data"]["nats.conf"])
    secrets = {one["metadata"]["name"]: one for one in of_kind("Secret", system("quickstart"))}
    told = secrets["seaway-nats-authorization"]["stringData"]["authorization.conf"]
    (tmp_path / "authorization.conf").write_text(told)
    (tmp_path / "cluster.conf").write_text(three_brokers()["cluster.conf"])
    answer = checked(tmp_path / "nats.conf")
    assert answer.returncode == 0, answer.stderr
    assert "sync_interval: always" in config["data"]["nats.conf"]


def three_brokers():
    text = run(4, "template", "seaway", BACKBONE, "--set", "global.brokers=3")
    secrets = {one["metadata"]["name"]: one for one in of_kind("Secret", objects_in(text))}
    return secrets["seaway-nats-authorization"]["stringData"]


def checked(config):
    server = Path(sys.executable).with_name("nats-server")
    return subprocess.run(
        [server, "-t", "-c", config],
        capture_output=True,
        text=True,
        check=False,
        env={"POD_NAME": "seaway-nats-0"},
    )


@pytest.mark.parametrize(
    ("size", "at_most"),
    [("10Gi", 8 * 2**30), ("7.5Gi", 6 * 2**30), ("1Ti", 8 * 2**40 // 10), ("10G", 8 * 10**9)],
)
def test_the_broker_takes_at_most_four_fifths_of_its_volume(size, at_most):
    text = run(4, "template", "seaway", BACKBONE, "--set", f"nats.storage.size={size}")
    assert f"max_file: {at_most} " in text


def test_three_brokers_are_spread_and_go_one_at_a_time():
    objects = system("production")
    [broker] = of_kind("StatefulSet", objects)
    assert broker["spec"]["replicas"] == 3
    pod = broker["spec"]["template"]["spec"]
    spread = {s["topologyKey"]: s["whenUnsatisfiable"] for s in pod["topologySpreadConstraints"]}
    assert spread == {
        "topology.kubernetes.io/zone": "ScheduleAnyway",
        "kubernetes.io/hostname": "DoNotSchedule",
    }
    assert "seaway-nats" in {
        b["metadata"]["name"] for b in of_kind("PodDisruptionBudget", objects)
    }
    for pod in (p for n, p in pods_of(objects).items() if n in [f"seaway-{s}" for s in SERVICES]):
        told = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        assert told["SEAWAY_REPLICAS"] == "3"


def test_every_scalable_listener_is_scaled_and_the_warehouse_never_is():
    scaled = {
        one["metadata"]["name"]: one["spec"]
        for one in of_kind("ScaledObject", system("production"))
    }
    assert scaled.keys() == {"seaway-user-creation", "seaway-welcome-email", "seaway-crm"}
    for spec in scaled.values():
        for trigger in spec["triggers"]:
            endpoint = trigger["metadata"]["natsServerMonitoringEndpoint"]
            assert endpoint == "seaway-nats-headless.default.svc:8222"
    [processor] = of_kind("HorizontalPodAutoscaler", system("production"))
    assert processor["metadata"]["name"] == "seaway-gateway"


@every_profile
@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings_are_known_and_accepted(name, profile, tmp_path, monkeypatch):
    pod = pods_of(system(profile))[f"seaway-{name}"]
    told = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    settings = SETTINGS[name]
    known = {f"{PREFIX}{field.upper()}" for field in settings.model_fields}
    assert told.keys() - {f"{PREFIX}SECRETS_DIR"} <= known
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                assert f"{PREFIX}{item['path'].upper()}" in known | {f"{PREFIX}NATS.CREDS"}
                (tmp_path / item["path"]).write_text("nats://user:password@nats:4222")
    for variable, value in {**told, f"{PREFIX}SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    read = settings.from_environment()
    assert read.metrics_port == 9090
    assert read.production == (name != "crm" or profile != "quickstart")


@every_profile
def test_only_the_init_container_can_make_streams(profile):
    for name, pod in pods_of(system(profile)).items():
        for one in pod["containers"]:
            mounted = {mount["name"] for mount in one.get("volumeMounts", [])}
            assert "secrets-of-prepare" not in mounted
        for one in pod.get("initContainers", []):
            assert {"secrets-of-prepare"} <= {mount["name"] for mount in one["volumeMounts"]}
            assert one["args"] == ["prepare", "--as-provisioner"], name


def test_alone_or_together_a_service_is_the_same():
    """What values.yaml says of a service here, deploy/helm/values says of it there."""
    together = yaml.safe_load((SYSTEM / "values.yaml").read_text())
    own = {"env", "sidecars", "secrets", "networkPolicy", "keda", "prepare", "broker", "name"}
    for name in SERVICES:
        alone = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
        assert {k: v for k, v in alone.items() if k not in own} == {
            k: v for k, v in together[name].items() if k not in own
        }
        durables = [one.get("keda", {}).get("durables") for one in (alone, together[name])]
        assert durables[0] == durables[1]


def test_rules_and_dashboards_are_rendered_if_there_are_any(tmp_path):
    chart = tmp_path / "backbone"
    subprocess.run(["cp", "-rL", BACKBONE, chart], check=True)
    for folder in ("rules", "dashboards"):
        (chart / "files" / folder).mkdir(exist_ok=True)
    group = {
        "name": "g",
        "rules": [{"alert": "Down", "expr": "up == 0", "labels": {"a": "{{ $value }}"}}],
    }
    (chart / "files/rules/some.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    (chart / "files/dashboards/some.json").write_text('{"title": "{{ some }}"}')
    known = run(4, "template", "seaway", chart, "--api-versions", OPERATORS)
    objects = {(o["kind"], o["metadata"]["name"]): o for o in objects_in(known)}
    rule = objects["PrometheusRule", "seaway-some"]
    assert rule["spec"]["groups"] == [group]
    board = objects["ConfigMap", "seaway-dashboard-some"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["data"]["some.json"] == '{"title": "{{ some }}"}'
    unknown = objects_in(run(4, "template", "seaway", chart))
    assert not {"PrometheusRule", "PodMonitor"} & {one["kind"] for one in unknown}


@pytest.mark.parametrize(
    "published", ["", "https://git.example.org/seaway/blob/main/docs/runbooks.md"]
)
def test_each_alert_leads_to_a_section_of_the_runbooks_where_they_are_published(published):
    said = ("--set", f"backbone.rules.runbooks={published}") if published else ()
    found = objects_in(system_text("quickstart", 4, "1.37.0", *said))
    rules = [
        rule
        for one in of_kind("PrometheusRule", found)
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert {rule["alert"] for rule in rules} == ALERTS.keys()
    places = [rule["annotations"]["runbook_url"].split("#") for rule in rules]
    assert {page for page, _ in places} == {published or "docs/runbooks.md"}
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert {anchor for _, anchor in places} <= {heading.lower() for heading in headings}


@pytest.mark.parametrize("page", ["runbooks", "ftp://example.org", "https://example.org/#a"])
def test_runbooks_that_nobody_can_open_are_refused(page):
    with pytest.raises(Refused, match="runbooks"):
        system_text("quickstart", 4, "1.37.0", "--set", f"backbone.rules.runbooks={page}")


def test_what_it_says_after_an_install_leads_to_a_sign_up():
    said = run(4, "install", "seaway", SYSTEM, "--dry-run=client")
    notes = said.split("NOTES:")[1]
    titles = [json.loads(p.read_text())["title"] for p in BACKBONE.glob("files/dashboards/*.json")]
    for line in (
        *("port-forward service/seaway-gateway 8080", "helm -n default test seaway"),
        "get configmap -l grafana_dashboard=1\n",
    ):
        assert line in notes
    assert re.search(r'"(.*)" is the one to begin with', notes)[1] in titles
    assert "8025" in notes
