"""Mails, each reserved before it is sent, and the inbox."""

import sqlalchemy as sa
from alembic import op
from seaway.database import create_inbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "mails",
        sa.Column("durable", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("once", sa.Text, unique=True),
        sa.Column("request_id", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("kind", sa.Integer),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    create_inbox(op)
