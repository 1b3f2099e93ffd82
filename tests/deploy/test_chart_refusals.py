"""What cannot work is refused while the chart is rendered, by name, with what to do."""

import json
import re

import pytest
import yaml
from helm import CHART, Refused, rendered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

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


def shapes(schema):
    """Every object in the schema of values, with the way there."""
    yield (), schema
    for key, one in schema.get("properties", {}).items():
        yield from (((key, *way), inner) for way, inner in shapes(one))


def test_every_value_is_in_the_schema_and_every_object_is_closed():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for way, shape in shapes(schema):
        inner = values
        for key in way:
            inner = inner.get(key, {}) if isinstance(inner, dict) else {}
        if "properties" in shape:
            assert shape["additionalProperties"] is False
            if way and way[0] != "resources":
                assert inner.keys() == shape["properties"].keys(), way


def nested(way, value):
    for key in reversed(way):
        value = {key: value}
    return value


SCHEMA = json.loads((CHART / "values.schema.json").read_text())
LEAVES = [(way, shape) for way, shape in shapes(SCHEMA) if way and "properties" not in shape]
OF_NO_TYPE = st.sampled_from([["a"], [[1]], {"A B!": {"c": [1]}}, -1, 1.5, "a b!\n"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(leaf=st.sampled_from(LEAVES), value=OF_NO_TYPE)
def test_a_value_of_another_kind_is_refused(leaf, value, tmp_path_factory):
    way, shape = leaf
    if Draft7Validator(shape).is_valid(value):
        return  # a word in the place of a word may be right
    with pytest.raises(Refused):
        rendered("gateway", tmp_path_factory.mktemp("values"), nested(way, value))
