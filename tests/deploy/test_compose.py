"""compose.yaml runs each image, with settings that its service accepts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from all_settings import SETTINGS
from dockerfile import FINAL, environment
from locks import DEPLOYED, ROOT
from seaway.settings import PREFIX

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "SEAWAY_TAG" in service["image"]}


def default_of(text):
    """What compose makes of ${NAME:-default} where nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_every_image_that_we_build_is_run():
    images = {default_of(service["image"]) for service in OURS.values()}
    members = {"monitor" if m == "platform" else m.rpartition("/")[2] for m in DEPLOYED}
    assert images == {f"seaway/{name.replace('_', '-')}:dev" for name in members}


def test_every_image_of_others_has_a_version_and_can_be_replaced():
    for name in SERVICES.keys() - OURS.keys():
        image = SERVICES[name]["image"]
        assert re.fullmatch(rf"\$\{{{name.upper()}_IMAGE:-[\w/]+:v?\d[\w.-]*\}}", image), image


@pytest.mark.parametrize("name", OURS)
def test_what_runs_is_confined(name):
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add"} & service.keys()


def test_only_this_machine_can_reach_it():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings_are_known_and_accepted(name, monkeypatch):
    told = environment(FINAL) | OURS[name]["environment"]
    settings = SETTINGS[name]
    for variable, value in told.items():
        monkeypatch.setenv(variable, default_of(value))
    read = settings.from_environment()
    assert read.nats_url == "nats://nats:4222"
    assert read.metrics_port == 9090
    own = {v for v in OURS[name]["environment"] if v.startswith(PREFIX)}
    assert own <= {f"{PREFIX}{field.upper()}" for field in settings.model_fields}


def test_the_monitor_and_prometheus_ask_everybody(monkeypatch):
    asked = OURS["monitor"]["environment"]["SEAWAY_AUDIT_SERVICES"]
    audited = dict(pair.split("=") for pair in asked.split(","))
    services = OURS.keys() - {"monitor", "fake-crm"}
    assert audited == {name: f"http://{name}:9090" for name in services}
    prometheus = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    [job] = prometheus["scrape_configs"]
    [group] = job["static_configs"]
    assert set(group["targets"]) == {f"{name}:9090" for name in services | {"monitor"}}


def test_prometheus_is_given_every_rule_that_there_is():
    given = COMPOSE["services"]["prometheus"]["configs"]
    mounted = {each["target"]: COMPOSE["configs"][each["source"]]["file"] for each in given}
    read = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["rule_files"]
    assert read == ["/etc/prometheus/rules/*.yaml"]
    for path in (ROOT / "deploy/helm/backbone/files/rules").glob("*.yaml"):
        assert ROOT / mounted[f"/etc/prometheus/rules/{path.name}"] == path


def test_a_real_broker_accepts_its_configuration():
    config = ROOT / "deploy/compose/nats.conf"
    server = Path(sys.executable).with_name("nats-server")
    answer = subprocess.run(
        [server, "-t", "-c", config], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "sync_interval: always" in config.read_text()


def test_every_file_that_it_mounts_is_there():
    for config in COMPOSE["configs"].values():
        assert (ROOT / config["file"]).is_file()
