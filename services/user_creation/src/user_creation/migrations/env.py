"""Alembic's entry. `seaway.database` brings the connection, in its transaction."""

from alembic import context
from seaway.database import inbox_table
from user_creation.users import User

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[User.metadata, inbox_table.metadata],
)
context.run_migrations()
