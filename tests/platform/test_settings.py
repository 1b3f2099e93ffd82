"""Settings: from the environment, from files, checked once."""

import os

import pytest
from pydantic import Field, SecretStr, ValidationError
from seaway.errors import SettingsError
from seaway.settings import Settings


class DatabaseSettings(Settings):
    database_url: SecretStr = Field(description="where the users are")


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch):
    for name in os.environ:
        if name.startswith("SEAWAY_"):
            monkeypatch.delenv(name)


def test_without_any_a_process_speaks_to_this_machine_only():
    settings = Settings.from_environment()
    assert settings.nats_url == "nats://127.0.0.1:4222"
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9090)
    assert (settings.log_level, settings.log_format, settings.replicas) == ("info", "json", 1)
    assert settings.nats_credentials_file == ""


def test_the_environment_is_read_under_one_prefix(monkeypatch):
    monkeypatch.setenv("SEAWAY_METRICS_PORT", "9101")
    monkeypatch.setenv("METRICS_HOST", "0.0.0.0")
    settings = Settings.from_environment()
    assert (settings.metrics_port, settings.metrics_host) == (9101, "127.0.0.1")


def test_a_mounted_file_has_the_settings_plain_name(monkeypatch, tmp_path):
    (tmp_path / "database_url").write_text("postgresql://db/users\n")
    monkeypatch.setenv("SEAWAY_SECRETS_DIR", str(tmp_path))
    settings = DatabaseSettings.from_environment()
    assert settings.database_url.get_secret_value() == "postgresql://db/users"


def test_the_environment_wins_over_a_file(monkeypatch, tmp_path):
    (tmp_path / "metrics_port").write_text("1")
    monkeypatch.setenv("SEAWAY_SECRETS_DIR", str(tmp_path))
    assert Settings.from_environment().metrics_port == 1
    monkeypatch.setenv("SEAWAY_METRICS_PORT", "2")
    assert Settings.from_environment().metrics_port == 2


def test_everything_that_is_wrong_is_named_at_once(monkeypatch):
    monkeypatch.setenv("SEAWAY_METRICS_PORT", "a hundred")
    monkeypatch.setenv("SEAWAY_REPLICAS", "9")
    with pytest.raises(SettingsError) as caught:
        DatabaseSettings.from_environment()
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "SEAWAY_METRICS_PORT",
        "SEAWAY_REPLICAS",
        "SEAWAY_DATABASE_URL",
    ]


def test_a_wrong_value_is_not_repeated_since_it_may_be_a_secret(monkeypatch):
    monkeypatch.setenv("SEAWAY_METRICS_PORT", "hunter2")
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_change_once_read():
    with pytest.raises(ValidationError):
        Settings.from_environment().metrics_port = 1
