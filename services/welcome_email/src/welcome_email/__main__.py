"""python -m welcome_email."""

from acme.users.v1 import SignUpEmailHandled
from seaway import Service
from seaway.database import Database
from seaway.process import Process, serve

from welcome_email.ledger import MIGRATIONS, Ledger
from welcome_email.letters import Letters
from welcome_email.post import ByMail
from welcome_email.service import welcome_email
from welcome_email.settings import WelcomeEmailSettings
from welcome_email.smtp import Relay


def build(process: Process) -> Service:
    """Choose the outside world; nothing is opened yet."""
    settings = process.settings(WelcomeEmailSettings)
    database = process.during(Database(settings.database_url, "welcome_email", MIGRATIONS))
    process.before(database.migrate)
    process.ready_when("database", database.ready)
    ledger = Ledger(database)
    relay = process.during(Relay(settings))
    post = ByMail(Letters(settings.sender), relay, ledger, resend=settings.resends)
    service = welcome_email(post, ledger)
    service.projects(SignUpEmailHandled, ledger.handled)
    return service


if __name__ == "__main__":
    serve("welcome-email", build)
