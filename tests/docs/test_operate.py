"""The handbook names every setting and every metric."""

import re
from pathlib import Path

import pytest
from crm.fake.__main__ import FakeCrmSettings
from crm.settings import CrmSettings
from data_warehouse.settings import WarehouseSettings
from gateway.settings import GatewaySettings
from generate import stale
from seaway.dev.mail_catcher import MailCatcherSettings
from seaway.monitor.settings import MonitorSettings
from seaway.settings import PREFIX, Settings
from user_creation.settings import UserCreationSettings
from welcome_email.settings import WelcomeEmailSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate.md").read_text()
SOURCES = [
    *sorted((ROOT / "platform/src").rglob("*.py")),
    *sorted(ROOT.glob("services/*/src/**/*.py")),
]


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


def in_the_handbook():
    rows = [line for line in PAGE.splitlines() if line.startswith(("| `seaway_", "| `grpc_"))]
    return [row.split("|")[1].strip(" `") for row in rows]


def test_the_handbook_has_every_metric_of_the_code_once_and_no_other():
    declared = re.compile(r'(Counter|Gauge|Histogram)\(\s*"((?:seaway|grpc)_[a-z_]+)"')
    in_the_code = [
        name.removesuffix("_total") + "_total" * (kind == "Counter")
        for path in SOURCES
        for kind, name in declared.findall(path.read_text())
    ]
    assert len(in_the_code) > 40
    assert sorted(in_the_handbook()) == sorted(in_the_code)


def test_what_is_written_from_the_code_is_as_it_would_be_written():
    assert stale() == []
