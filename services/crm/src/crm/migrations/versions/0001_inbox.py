"""The inbox: which users are contacts."""

from alembic import op
from seaway.database import create_inbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_inbox(op)
