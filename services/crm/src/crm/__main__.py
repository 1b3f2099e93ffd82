"""python -m crm."""

from seaway import Service
from seaway.database import Database, SqlInbox
from seaway.process import Process, serve

from crm.calling import Calls
from crm.hubspot import HubSpot
from crm.pace import Pace
from crm.service import crm
from crm.settings import MIGRATIONS, CrmSettings


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(CrmSettings)
    database = process.during(Database(settings.database_url, "crm", MIGRATIONS))
    process.before(database.migrate)
    process.ready_when("database", database.ready)
    pace = Pace(settings.crm_calls_per_10_seconds)
    calls = process.during(Calls(settings.url, settings.token, pace))
    return crm(HubSpot(calls), SqlInbox(database))


if __name__ == "__main__":
    serve("crm", build)
