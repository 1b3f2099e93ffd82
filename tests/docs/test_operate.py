"""The handbook names every setting and every metric."""

from pathlib import Path

import pytest
import seaway.rpc  # noqa: F401 - declares the metrics of gRPC
from crm.fake.__main__ import FakeCrmSettings
from crm.settings import CrmSettings
from data_warehouse import metrics as warehouse_metrics  # noqa: F401 - declares its own
from data_warehouse.settings import WarehouseSettings
from gateway.settings import GatewaySettings
from prometheus_client import REGISTRY
from seaway import telemetry
from seaway.dev.mail_catcher import MailCatcherSettings
from seaway.monitor.settings import MonitorSettings
from seaway.settings import PREFIX, Settings
from user_creation.settings import UserCreationSettings
from welcome_email import counting  # noqa: F401 - declares its own
from welcome_email.settings import WelcomeEmailSettings

PAGE = (Path(__file__).parents[2] / "docs/operate.md").read_text()


def row_of(name):
    return next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line)


@pytest.mark.parametrize(
    "settings",
    [
        Settings,
        GatewaySettings,
        UserCreationSettings,
        CrmSettings,
        FakeCrmSettings,
        WarehouseSettings,
        WelcomeEmailSettings,
        MailCatcherSettings,
        MonitorSettings,
    ],
)
def test_every_setting_is_in_the_handbook_with_its_default(settings):
    for name, field in settings.model_fields.items():
        row = row_of(f"{PREFIX}{name.upper()}")
        assert not field.default or f"`{field.default}`" in row


def test_every_metric_is_in_the_handbook():
    assert telemetry.PUBLISHED in set(REGISTRY._collector_to_names)
    for family in REGISTRY.collect():
        if family.name.startswith(("seaway_", "grpc_server_")):
            assert row_of(family.name + "_total" * (family.type == "counter"))


def test_every_metric_in_the_handbook_exists():
    known = {name for names in REGISTRY._collector_to_names.values() for name in names}
    rows = [line for line in PAGE.splitlines() if line.startswith(("| `seaway_", "| `grpc_"))]
    named = {name for row in rows for name in row.split("|")[1].replace("`", "").split(", ")}
    assert {name.strip() for name in named} <= known
