"""python -m user_creation."""

from seaway import Service
from seaway.database import Database, SqlInbox
from seaway.process import Process, serve

from user_creation.service import user_creation
from user_creation.settings import UserCreationSettings
from user_creation.users import MIGRATIONS, SqlUsers


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(UserCreationSettings)
    database = process.during(Database(settings.database_url, "user_creation", MIGRATIONS))
    process.before(database.migrate)
    process.ready_when("database", database.ready)
    return user_creation(SqlUsers(database), SqlInbox(database))


if __name__ == "__main__":
    serve("user-creation", build)
