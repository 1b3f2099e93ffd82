"""Every metric of ours, as the code declares it, and the table of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

from prometheus_client.metrics import MetricWrapperBase

DECLARED: Mapping[str, tuple[str, ...]] = {
    "Every process": ("seaway.telemetry",),
    "With a database": ("seaway.database.connections",),
    "gRPC, and the gateway": ("seaway.rpc.call", "gateway.measuring"),
    "E-mail": ("welcome_email.counting",),
    "The CRM": ("crm.calling",),
    "The data warehouse": ("data_warehouse.metrics",),
    "The monitor": ("seaway.monitor.metrics",),
}
"""Which modules declare metrics, by whose they are."""

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}
PROCESS = {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
}
"""What the Prometheus client tells of the process, and we look at. Only on Linux."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name as it is known, without what is put behind it for a histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str

    @property
    def series(self) -> Iterator[str]:
        """The names of its series."""
        stem = self.name.removesuffix("_total")
        return (stem + suffix for suffix in SUFFIXES[self.kind])


def catalogue() -> dict[str, list[Metric]]:
    """Return all metrics, by whose they are."""
    return {
        whose: [metric for module in modules for metric in _declared_in(module)]
        for whose, modules in DECLARED.items()
    }


def known_series() -> set[str]:
    """Return the names of all series that there can be."""
    ours = {s for metrics in catalogue().values() for metric in metrics for s in metric.series}
    return ours | PROCESS


def tables() -> str:
    """Return the tables of the handbook."""
    parts = []
    for whose, metrics in catalogue().items():
        rows = "\n".join(_row(metric) for metric in metrics)
        parts.append(f"**{whose}**\n\n| metric | labels | says |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    # As in a sentence, unless it begins with an abbreviation.
    says = re.sub(r"^[A-Z](?![A-Z])", lambda first: first[0].lower(), metric.says.rstrip("."))
    return f"| `{metric.name}` | {labels} | {says} |"


def _declared_in(module: str) -> Iterator[Metric]:
    for value in vars(import_module(module)).values():
        if isinstance(value, MetricWrapperBase):
            [about] = value.describe()
            name = about.name + "_total" * (about.type == "counter")
            yield Metric(name, about.type, tuple(value._labelnames), about.documentation)
