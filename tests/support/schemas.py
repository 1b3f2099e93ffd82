"""What Kubernetes, operators and a JSON schema accept.

Whoever knows is imported when asked: their types and grammars take seconds, and every worker
collects every file.
"""

from functools import cache
from importlib import import_module

MONITORING = ("PodMonitor", "ServiceMonitor", "PrometheusRule")


class Invalid(Exception):
    """An object that no API server would take."""


def check_kubernetes(one, version):
    """Raise Invalid if Kubernetes of this version would not accept an object."""
    schemas = _of_kubernetes()
    try:
        schemas.validate(one, version, strict=True)
    except schemas.ValidationError as error:
        path = ".".join(map(str, error.path))
        name = f"{one['kind']} {one['metadata'].get('name')}"
        raise Invalid(f"{name}: {path}: {error.message}") from error


@cache
def _of_kubernetes():
    schemas = import_module("kubernetes_validate")
    # It would read a version's definitions again for each object: a megabyte.
    schemas.utils.schema_contents = cache(schemas.utils.schema_contents)
    return schemas


def model_of(kind):
    """The type of an operator's object; None: it is not known."""
    if kind == "ScaledObject":
        return import_module("cloudcoil.models.keda.v1alpha1").ScaledObject
    if kind in MONITORING:
        return getattr(import_module("cloudcoil.models.prometheus_operator.v1"), kind)
    return None


def is_valid(value, schema):
    """Whether a JSON schema of draft 7 allows a value."""
    return import_module("jsonschema").Draft7Validator(schema).is_valid(value)
