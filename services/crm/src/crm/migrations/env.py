"""Alembic's entry. `seaway.database` brings the connection, in its transaction."""

from alembic import context
from seaway.database import inbox_table, trials_table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[inbox_table.metadata, trials_table.metadata],
)
context.run_migrations()
