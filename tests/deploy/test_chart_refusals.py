"""What cannot work is refused while the chart is rendered, by name, with what to do."""

import json
import re

import pytest
import yaml
from helm import BACKBONE, CHART, SYSTEM, Refused, rendered, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemas import is_valid

BAD = {
    "sqlite twice": (
        "user-creation",
        {"replicas": 2},
        "user-creation: database.kind sqlite is one file.*set database.kind to postgresql",
    ),
    "sqlite scaled by lag": (
        "user-creation",
        {"keda": {"enabled": True, "monitoringEndpoint": "nats:8222"}},
        "database.kind sqlite",
    ),
    "keda without the broker's monitor": (
        "gateway",
        {"keda": {"enabled": True, "durables": ["a"]}},
        "gateway: keda.enabled needs keda.monitoringEndpoint",
    ),
    "keda without durables": (
        "gateway",
        {"keda": {"enabled": True, "monitoringEndpoint": "nats:8222"}},
        "gateway: keda.enabled needs keda.durables",
    ),
    "two scalers": (
        "gateway",
        {
            "hpa": {"enabled": True},
            "keda": {"enabled": True, "monitoringEndpoint": "nats:8222", "durables": ["a"]},
        },
        "gateway: hpa and keda would both set its replicas",
    ),
    "a broker that is nowhere": (
        "gateway",
        {"broker": {"urlKey": ""}},
        "gateway: where is the broker.*broker.urlKey",
    ),
    "a broker without credentials": (
        "gateway",
        {"broker": {"urlKey": "", "url": "nats://nats:4222"}},
        "gateway: who is it to the broker.*broker.credentialsKey",
    ),
    "a password in the broker's URL": (
        "gateway",
        {"broker": {"urlKey": "", "url": "nats://a:b@nats:4222", "credentialsKey": "seed"}},
        "gateway: broker.url holds a password",
    ),
    "a secret among the settings": (
        "crm",
        {"env": {"SEAWAY_CRM_TOKEN": "pat-1"}},
        r"crm: env.SEAWAY_CRM_TOKEN is a secret.*\(secrets: {my-secret: {key: crm_token}}\)",
    ),
    "a password in a URL among them": (
        "user-creation",
        {"env": {"SEAWAY_DATABASE_URL": "postgresql+asyncpg://a:b@db/c"}},
        "user-creation: env.SEAWAY_DATABASE_URL is a secret.*{key: database_url}",
    ),
    "no Secret for the broker": (
        "gateway",
        {"broker": {"existingSecret": ""}},
        "gateway: no Secret for the broker.*broker.existingSecret",
    ),
    "no Secret for the database": (
        "crm",
        {"database": {"kind": "postgresql"}},
        "crm: no Secret for PostgreSQL.*database.existingSecret",
    ),
    "no way to the database": (
        "user-creation",
        {"database": {"kind": "postgresql", "existingSecret": "a"}},
        "user-creation: its NetworkPolicy would keep it from PostgreSQL",
    ),
    "two writers of one table": (
        "data-warehouse",
        {"replicas": 2},
        r"data-warehouse: only one of it may ever run \(single\): set replicas to 1",
    ),
    "a volume for two": (
        "gateway",
        {"storage": {"enabled": True}},
        "gateway: its volume can be written by one pod only",
    ),
    "an Ingress to nowhere": (
        "crm",
        {"ingress": {"enabled": True, "host": "a.example"}},
        "crm: ingress.port web is none of its ports",
    ),
    "an Ingress without a host": ("gateway", {"ingress": {"enabled": True}}, "needs ingress.host"),
    "fewer at most than at least": (
        "gateway",
        {"hpa": {"enabled": True, "min": 5, "max": 2}},
        "gateway: hpa.min is more than hpa.max",
    ),
    "values of the chart before": (
        "gateway",
        {"prepare": False},
        "gateway: this values file is of chart 0.1.0: .*write `prepare: {enabled: false}`",
    ),
    "a route from nowhere": (
        "gateway",
        {"routes": {"enabled": True, "host": "a.example"}},
        "gateway: routes.enabled needs routes.parents",
    ),
    "a route to nowhere": (
        "crm",
        {"routes": {"enabled": True, "host": "a.example", "parents": [{"name": "public"}]}},
        "crm: routes.enabled needs a port",
    ),
    "two brokers": (
        "gateway",
        {"global": {"brokers": 2}},
        "gateway: global.brokers is 2: .*1, 3 or",
    ),
    "a sidecar with a volume that is not there": (
        "gateway",
        {"sidecars": [{"name": "beside", "image": "beside:1", "storage": True}]},
        "gateway: its sidecar beside is to see its volume, and there is none",
    ),
    "no image": ("crm", {"image": {"repository": ""}}, "crm: image.repository is empty"),
    "an unknown key": ("gateway", {"replicaCount": 2}, "(?s)replicaCount.*not allowed"),
    "an unknown key further in": ("gateway", {"keda": {"on": True}}, "(?s)keda.*not allowed"),
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("what", BAD)
def test_it_says_what_to_do(what, version, tmp_path):
    name, values, said = BAD[what]
    with pytest.raises(Refused) as refused:
        rendered(name, tmp_path, values, version=version)
    assert re.search(said, str(refused.value))


EXTERNAL = {"nats": {"external": {"url": "nats://nats.example:4222"}}}
OF_OURS = {"broker": {"existingSecret": "ours"}}
BAD_SYSTEMS = {
    "SQLite with two replicas": (
        {"user-creation": {"replicas": 2}},
        "user-creation: database.kind sqlite is one file.*replicas to 1",
    ),
    "two warehouses": (
        {"data-warehouse": {"replicas": 2}},
        r"data-warehouse: only one.*\(single\)",
    ),
    "no Secret": ({"crm": {"broker": {"existingSecret": ""}}}, "crm: no Secret for the broker"),
    "a volume that is too small": (
        {"backbone": {"nats": {"storage": {"size": "4Gi"}}}},
        "nats.storage.size is 4Gi.*set it to 7Gi or more",
    ),
    "a password in values": (
        {"backbone": {"nats": {"external": {"url": "nats://a:b@nats.example:4222"}}}},
        "nats.external.url holds a password",
    ),
    "a broker elsewhere, without credentials": (
        {"backbone": EXTERNAL},
        "nats.external.url without credentials.*monitor.broker.existingSecret",
    ),
    "… of the gateway": (
        {"backbone": {**EXTERNAL, "monitor": OF_OURS}},
        "gateway: backbone.nats.external.url without credentials.*gateway.broker.existingSecret",
    ),
    "… of who makes the streams": (
        {"backbone": {**EXTERNAL, "monitor": OF_OURS}, "gateway": OF_OURS},
        "gateway: backbone.nats.external.url without a provisioner",
    ),
    "a broker elsewhere, and permissions here": (
        {"backbone": {**EXTERNAL, "auth": {"existingSecret": "a"}}},
        "auth.existingSecret is for the broker of this chart",
    ),
    "an audit of who does not run": (
        {"services": {"crm": False}},
        "services.crm is off.*backbone.monitor.env.SEAWAY_AUDIT_SERVICES",
    ),
    "an unknown key": ({"replicas": 2}, "(?s)replicas.*not allowed"),
    "an unknown service": ({"services": {"billing": True}}, "(?s)billing.*not allowed"),
    "an unknown key of a service": ({"crm": {"replica": 2}}, "(?s)replica.*not allowed"),
    "an unknown key of the broker": ({"backbone": {"nats": {"tls": 1}}}, "(?s)tls.*not allowed"),
    "a file of the service chart before": (
        {"gateway": {"prepare": True}},
        "gateway: this values file is of chart 0.1.0",
    ),
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("what", BAD_SYSTEMS)
def test_the_whole_system_says_what_to_do(what, version, tmp_path):
    values, said = BAD_SYSTEMS[what]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(Refused) as refused:
        run(version, "template", "seaway", SYSTEM, "-f", tmp_path / "values.yaml")
    assert re.search(said, str(refused.value)), str(refused.value)


def test_a_broker_elsewhere_is_to_be_reached_and_asked_by_keda(tmp_path):
    own = {**OF_OURS, "prepare": {"existingSecret": "ours"}}
    values = {
        "backbone": {**EXTERNAL, "monitor": OF_OURS},
        "gateway": own,
        "services": dict.fromkeys(["welcome-email", "data-warehouse", "crm"], False),
        "user-creation": {
            **own,
            "database": {"kind": "postgresql", "existingSecret": "ours"},
            "networkPolicy": {"egress": [{"ports": [{"port": 5432}]}]},
            "keda": {"enabled": True},
        },
    }
    values["backbone"]["monitor"]["env"] = {"SEAWAY_AUDIT_SERVICES": "a=http://a:9090"}
    way = {"broker": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    for mended, said in (
        (lambda: None, "gateway: its NetworkPolicy would keep it from backbone.nats.external.url"),
        (
            lambda: (
                values["gateway"].update(networkPolicy=way),
                values["user-creation"]["networkPolicy"].update(way),
            ),
            "user-creation: keda.enabled needs user-creation.keda.monitoringEndpoint",
        ),
    ):
        mended()
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        with pytest.raises(Refused, match=said):
            run(4, "template", "seaway", SYSTEM, "-f", tmp_path / "values.yaml")
    values["user-creation"]["keda"]["monitoringEndpoint"] = "nats.example:8222"
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    assert "nats.example:8222" in run(
        4, "template", "seaway", SYSTEM, "-f", tmp_path / "values.yaml"
    )


def shapes(schema):
    """Every object in the schema of values, with the way there."""
    yield (), schema
    for key, one in schema.get("properties", {}).items():
        yield from (((key, *way), inner) for way, inner in shapes(one))


@pytest.mark.parametrize("chart", [CHART, BACKBONE, SYSTEM], ids=lambda chart: chart.name)
def test_every_value_is_in_the_schema_and_every_object_is_closed(chart):
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for way, shape in shapes(schema):
        inner = values
        for key in way:
            inner = inner.get(key, {}) if isinstance(inner, dict) else {}
        if "properties" in shape:
            assert shape["additionalProperties"] is False
            if "resources" not in way:
                assert inner.keys() == shape["properties"].keys(), way


def nested(way, value):
    for key in reversed(way):
        value = {key: value}
    return value


def leaves(chart):
    schema = json.loads((chart / "values.schema.json").read_text())
    return [(way, shape) for way, shape in shapes(schema) if way and "properties" not in shape]


LEAVES = leaves(CHART)
BELOW = {"monitor"}
"""Of the chart beside it, and tried there."""
LEAVES_OF_BACKBONE = [leaf for leaf in leaves(BACKBONE) if leaf[0][0] not in BELOW]
OF_NO_TYPE = st.sampled_from([["a"], [[1]], {"A B!": {"c": [1]}}, -1, 1.5, "a b!\n"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(leaf=st.sampled_from(LEAVES), value=OF_NO_TYPE)
def test_a_value_of_another_kind_is_refused(leaf, value, tmp_path_factory):
    way, shape = leaf
    if is_valid(value, shape):
        return  # a word in the place of a word may be right
    with pytest.raises(Refused):
        rendered("gateway", tmp_path_factory.mktemp("values"), nested(way, value))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(leaf=st.sampled_from(LEAVES_OF_BACKBONE), value=OF_NO_TYPE)
def test_so_it_is_of_the_backbone(leaf, value, tmp_path_factory):
    way, shape = leaf
    if is_valid(value, shape):
        return
    more = tmp_path_factory.mktemp("values") / "values.yaml"
    more.write_text(yaml.safe_dump(nested(way, value)))
    with pytest.raises(Refused):
        run(4, "template", "seaway", BACKBONE, "-f", more)
