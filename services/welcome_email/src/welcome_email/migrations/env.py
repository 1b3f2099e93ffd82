"""Alembic's entry. `seaway.database` brings the connection, in its transaction."""

from alembic import context
from seaway.database import inbox_table
from welcome_email.ledger import mails

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[mails.metadata, inbox_table.metadata],
)
context.run_migrations()
