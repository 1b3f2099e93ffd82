"""The chart of one service: what it renders is valid, confined, and as the service needs it."""

import re

import pytest
import yaml
from all_settings import SETTINGS
from helm import CHART, SERVICES, VALUES, containers, of_kind, pod_of, rendered, run
from locks import ROOT
from schemas import check_kubernetes
from seaway.process.running import DRAIN_WITHIN
from seaway.settings import PREFIX

ON_POSTGRESQL = {
    "replicas": 1,
    "database": {"kind": "postgresql", "existingSecret": "the-database"},
    "networkPolicy": {"egress": [{"ports": [{"port": 5432}]}]},
}
EVERYTHING = {
    **ON_POSTGRESQL,
    "ports": {"web": 8080},
    "image": {"digest": "sha256:" + "0" * 64},
    "keda": {"enabled": True, "monitoringEndpoint": "nats.{{ .Release.Name }}:8222", "min": 2},
    "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    "ingress": {"enabled": True, "host": "a.example", "tlsSecret": "tls", "className": "nginx"},
    "sidecars": [{"name": "beside", "image": "beside:1", "ports": {"smtp": 1025}}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "extraManifests": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    ],
    "global": {
        "imageRegistry": "registry.example",
        "imagePullSecrets": ["pull"],
        "labels": {"team": "users"},
    },
}
SCALED = {"hpa": {"enabled": True}}
RENDERS = {name: (name, {}) for name in SERVICES} | {
    "everything": ("user-creation", EVERYTHING),
    "on PostgreSQL": ("welcome-email", ON_POSTGRESQL),
    "scaled by processor": ("gateway", SCALED),
}
DEFINED_BY_OTHERS = {"ScaledObject", "PodMonitor", "ServiceMonitor", "GRPCRoute", "HTTPRoute"}
every_render = pytest.mark.parametrize("render", RENDERS)


@pytest.fixture
def objects(render, tmp_path):
    name, values = RENDERS[render]
    return rendered(name, tmp_path, values)


def test_every_service_has_values():
    assert set(SERVICES) == SETTINGS.keys() - {"monitor"}
    for name in SERVICES:
        lines = (VALUES / f"{name}.yaml").read_text().splitlines()
        assert len(lines) <= 12


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_helm_finds_nothing_wrong(name, version):
    run(version, "lint", "--strict", CHART, "-f", VALUES / f"{name}.yaml")


@every_render
def test_both_helms_make_the_same_of_it(render, objects, tmp_path):
    name, values = RENDERS[render]
    assert rendered(name, tmp_path, values, version=3) == objects


@pytest.mark.parametrize("kubernetes", ["1.30", "1.37"])
@every_render
def test_kubernetes_would_accept_it(render, kubernetes, tmp_path):
    name, values = RENDERS[render]
    for one in rendered(name, tmp_path, values, kubernetes=f"{kubernetes}.0"):
        if one["kind"] not in DEFINED_BY_OTHERS:
            check_kubernetes(one, kubernetes)


@every_render
def test_nothing_is_named_twice(objects):
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    pod = pod_of(objects)
    mounted = {mount["name"] for one in containers(pod) for mount in one["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    for one in containers(pod):
        set_ = [variable["name"] for variable in one.get("env", [])]
        assert len(set_) == len(set(set_))


@every_render
def test_its_pods_pass_as_restricted(objects):
    pod = pod_of(objects)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    kinds = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"emptyDir", "projected", "persistentVolumeClaim"}
    for one in containers(pod):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert not [port for port in one.get("ports", []) if "hostPort" in port]


@every_render
def test_it_is_probed_spread_and_given_the_time_to_drain(objects):
    pod = pod_of(objects)
    (main, *_) = pod["containers"]
    assert main["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert main["startupProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    grpc = [port["containerPort"] for port in main["ports"] if port["name"] == "grpc"]
    expected = (
        {"grpc": {"port": grpc[0], "service": "readiness"}}
        if grpc
        else {"httpGet": {"path": "/readyz", "port": "metrics"}}
    )
    assert expected.items() <= main["readinessProbe"].items()
    assert len(pod["topologySpreadConstraints"]) == 2
    before = main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] >= before + DRAIN_WITHIN + 5


@pytest.mark.parametrize("name", SERVICES)
def test_its_settings_are_known_and_accepted(name, tmp_path, monkeypatch):
    pod = pod_of(rendered(name, tmp_path))
    (prepare,), (main,) = pod["initContainers"], pod["containers"]
    assert prepare["args"] == ["prepare"]
    assert prepare["env"] == main["env"]
    told = {variable["name"]: variable["value"] for variable in main["env"]}
    known = {f"{PREFIX}{field.upper()}" for field in SETTINGS[name].model_fields}
    assert told.keys() - {f"{PREFIX}SECRETS_DIR"} <= known
    (secrets,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    sources = secrets["projected"]["sources"]
    files = {item["path"] for source in sources for item in source["secret"]["items"]}
    assert {f"{PREFIX}{file.upper()}" for file in files} <= known
    for file in files:
        (tmp_path / file).write_text("nats://user:password@nats:4222")
    for variable, value in {**told, f"{PREFIX}SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    read = SETTINGS[name].from_environment()
    assert read.nats_url == "nats://user:password@nats:4222"
    assert read.metrics_port == 9090
    assert read.production


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_may_call_is_listed(name, tmp_path):
    (policy,) = of_kind("NetworkPolicy", rendered(name, tmp_path))
    ports = {p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]}
    outside = {"welcome-email": {25, 465, 587}, "crm": {443}}
    assert ports == {53, 4222} | outside.get(name, set())
    entries = {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]}
    assert entries == {"metrics"} | ({"grpc", "web"} if name == "gateway" else set())
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_what_keeps_data_has_one_pod_and_keeps_its_volume(tmp_path):
    for name in ("user-creation", "welcome-email", "crm", "data-warehouse"):
        objects = rendered(name, tmp_path)
        (deployment,) = of_kind("Deployment", objects)
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        (claim,) = of_kind("PersistentVolumeClaim", objects)
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert not of_kind("PodDisruptionBudget", objects)


def test_a_gateway_is_replaced_before_it_leaves_and_is_never_away_whole(tmp_path):
    objects = rendered("gateway", tmp_path)
    (deployment,) = of_kind("Deployment", objects)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert of_kind("PodDisruptionBudget", objects)
    addresses = {s["metadata"]["name"]: s["spec"] for s in of_kind("Service", objects)}
    assert addresses["seaway-gateway-headless"]["clusterIP"] == "None"
    assert addresses["seaway-gateway"]["ports"] == addresses["seaway-gateway-headless"]["ports"]


def test_a_scaler_sets_the_replicas_and_nobody_else_does(tmp_path):
    for values, kind in ((SCALED, "HorizontalPodAutoscaler"), (EVERYTHING, "ScaledObject")):
        name = "gateway" if values is SCALED else "user-creation"
        objects = rendered(name, tmp_path, values)
        (deployment,) = of_kind("Deployment", objects)
        assert "replicas" not in deployment["spec"]
        (scaler,) = of_kind(kind, objects)
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert of_kind("PodDisruptionBudget", objects)


def test_a_digest_wins_over_a_tag(tmp_path):
    (main, *_) = pod_of(rendered("user-creation", tmp_path, EVERYTHING))["containers"]
    assert main["image"] == "registry.example/seaway/user-creation@sha256:" + "0" * 64


@pytest.mark.parametrize("name", SERVICES)
def test_keda_asks_for_durables_that_the_service_has(name):
    values = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    asked = set(values.get("keda", {}).get("durables", []))
    sources = (ROOT / "services" / name.replace("-", "_") / "src").rglob("service.py")
    listens = {
        "-".join([name, *re.findall("[A-Z][a-z]+", message)]).lower()
        for path in sources
        for message in re.findall(r"@service\.on(?:_batch)?\((\w+)", path.read_text())
    }
    assert asked == listens


def test_with_tls_it_is_not_asked_by_grpc_which_the_kubelet_cannot_do(tmp_path):
    files = {
        "SEAWAY_TLS_CERTIFICATE_FILE": "/etc/seaway/secrets/certificate",
        "SEAWAY_TLS_KEY_FILE": "/etc/seaway/secrets/key",
    }
    mounted = {"gateway-tls": {"tls.crt": "certificate", "tls.key": "key"}}
    pod = pod_of(rendered("gateway", tmp_path, {"env": files, "secrets": mounted}))
    (main, *_) = pod["containers"]
    assert main["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert files.items() <= {each["name"]: each.get("value") for each in main["env"]}.items()
    sources = [
        s["secret"] for v in pod["volumes"] for s in v.get("projected", {}).get("sources", [])
    ]
    assert {"key": "tls.key", "path": "key"} in next(
        source["items"] for source in sources if source["name"] == "gateway-tls"
    )
