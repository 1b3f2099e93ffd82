"""What Kubernetes, operators and a JSON schema accept.

Whoever knows is imported when asked: their types and grammars take seconds, and every worker
collects every file.
"""

from importlib import import_module

MONITORING = ("PodMonitor", "ServiceMonitor", "PrometheusRule")


def check_kubernetes(one, version):
    """Raise if Kubernetes of this version would not accept an object."""
    import_module("kubernetes_validate").validate(one, version, strict=True)


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
