"""Settings: from the environment and from mounted files, checked once, frozen.

`SEAWAY_DATABASE_URL`, or a file named `database_url` in the folder `SEAWAY_SECRETS_DIR`. The
environment wins. A service adds fields of its own in a subclass.
"""

import os
from typing import Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from seaway.errors import SettingsError
from seaway.failpoints import CrashAt

PREFIX = "SEAWAY_"


class Settings(BaseSettings):
    """What every process of a Seaway system can be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    nats_url: str = Field(
        "nats://127.0.0.1:4222", description="where the broker is; several: a,b,c"
    )
    nats_credentials_file: str = Field(
        "", description="who we are to the broker: credentials, or a seed"
    )
    metrics_port: int = Field(9090, ge=0, le=65535, description="/metrics, /livez, /readyz")
    metrics_host: str = Field("127.0.0.1", description="the address these are served on")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    replicas: int = Field(1, ge=1, le=5, description="copies that the broker keeps of a stream")
    handler_seconds: float = Field(30, gt=0, description="after which a handler is cut off")
    blocked_seconds: float = Field(
        30, gt=0, description="after which a process whose event loop stands still ends itself"
    )
    production: bool = Field(False, description="refuse what only tests may ask for")
    crash_at: str = Field("", description="for tests: a failpoint to die at, as in U3 or U3:2")

    @field_validator("crash_at")
    @classmethod
    def _is_for_tests(cls, crash_at: str, others: ValidationInfo) -> str:
        if crash_at and others.data.get("production", True):
            raise ValueError(f"{crash_at!r} is for tests, and SEAWAY_PRODUCTION is set")
        CrashAt.parse(crash_at)
        return crash_at

    @classmethod
    def from_environment(cls) -> Self:
        """Read them. Raises SettingsError with one line for each that is wrong or missing."""
        try:
            return cls()
        except ValidationError as error:
            lines = [
                f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {_said(e['msg'])}"
                for e in error.errors(include_input=False)
            ]
            raise SettingsError("\n".join(lines)) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look for files under their plain name, without the prefix of the environment."""
        folder = os.environ.get(f"{PREFIX}SECRETS_DIR")
        files = SecretsSettingsSource(settings_cls, secrets_dir=folder, env_prefix="")
        return (init_settings, env_settings, files)


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
