"""What this service can be told."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from seaway.settings import Settings

from crm.calling import Token
from crm.guard import fit_url

FAKE_TOKEN = "fake"
MIGRATIONS = Path(__file__).parent / "migrations"
"""How the tables came to be what they are."""


class CrmSettings(Settings):
    """Every process's settings, and which CRM it is."""

    database_url: str = Field(
        "sqlite+aiosqlite:///.seaway/crm.db",
        description="sqlite+aiosqlite:///file or postgresql+asyncpg://…",
    )
    crm_url: str = Field(
        "",
        validate_default=True,
        description="https://api.hubapi.com, or another; empty: the fake one, on this machine",
    )
    crm_port: int = Field(8081, ge=1, le=65535, description="where the fake one is")
    crm_calls_per_10_seconds: int = Field(
        100, ge=2, description="the limit of the plan, and of this process: 190 is professional"
    )
    crm_token: SecretStr = Field(SecretStr(""), description="who we are to the CRM")
    crm_token_file: str = Field(
        "",
        validate_default=True,
        description="… in a file, which is read again at each call",
    )

    @field_validator("crm_url")
    @classmethod
    def _is_fit_to_be_called(cls, url: str, others: ValidationInfo) -> str:
        if url:
            return fit_url(url)
        if others.data.get("production", True):
            raise ValueError("which CRM? Without it, it is the fake one, and this is production")
        return ""

    @field_validator("crm_token_file")
    @classmethod
    def _says_who_we_are(cls, file: str, others: ValidationInfo) -> str:
        if others.data.get("crm_url") and not (file or others.data.get("crm_token")):
            raise ValueError("a CRM wants to know who we are: SEAWAY_CRM_TOKEN_FILE")
        return file

    @property
    def url(self) -> str:
        """Where the CRM is."""
        return self.crm_url or f"http://127.0.0.1:{self.crm_port}"

    @property
    def token(self) -> Token:
        """Who we are to it."""
        given = self.crm_token.get_secret_value() or FAKE_TOKEN
        return Token(given, Path(self.crm_token_file) if self.crm_token_file else None)
