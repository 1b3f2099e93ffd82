"""Where a mail was set aside that may have been sent."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("mails", sa.Column("parked", sa.BigInteger))
