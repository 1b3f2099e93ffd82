"""What this service can be told."""

from pydantic import Field
from seaway.settings import Settings


class UserCreationSettings(Settings):
    """Every process's settings, and where its users are."""

    database_url: str = Field(
        "sqlite+aiosqlite:///.seaway/user-creation.db",
        description="sqlite+aiosqlite:///file or postgresql+asyncpg://…",
    )
