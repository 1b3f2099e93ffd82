"""What the CRM service may be told, and what it refuses to start with."""

import pytest
from crm.settings import CrmSettings
from seaway.errors import SettingsError

HUBSPOT = "https://api.hubapi.com"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch):
    for name in CrmSettings.model_fields:
        monkeypatch.delenv(f"SEAWAY_{name.upper()}", raising=False)


@pytest.fixture
def told(monkeypatch):
    def tell(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"SEAWAY_{name.upper()}", value)
        return CrmSettings.from_environment()

    return tell


def test_without_a_word_it_is_the_fake_one(told):
    settings = told(crm_port="18081")
    assert settings.url == "http://127.0.0.1:18081"
    assert settings.token.read() == "fake"


def test_the_real_one_wants_a_token(told, tmp_path):
    with pytest.raises(SettingsError, match="SEAWAY_CRM_TOKEN_FILE"):
        told(crm_url=HUBSPOT)
    assert told(crm_url=HUBSPOT, crm_token="given").token.read() == "given"
    (tmp_path / "token").write_text("of a file\n".replace(" ", "-"))
    settings = told(crm_token_file=str(tmp_path / "token"))
    assert (settings.url, settings.token.read()) == (HUBSPOT, "of-a-file")


def test_production_is_not_connected_to_the_fake_one(told):
    with pytest.raises(SettingsError, match="SEAWAY_CRM_URL: which CRM"):
        told(production="true")
    assert told(crm_url=HUBSPOT, crm_token="given").production


@pytest.mark.parametrize("url", ["https://169.254.169.254/", "http://api.example.org", "crm"])
def test_a_url_that_nobody_may_configure_is_refused_and_not_repeated(told, url):
    with pytest.raises(SettingsError, match="SEAWAY_CRM_URL") as refused:
        told(crm_url=url, crm_token="given")
    assert url not in str(refused.value)


def test_no_setting_shows_the_token(told):
    assert "geheim" not in repr(told(crm_token="geheim"))
