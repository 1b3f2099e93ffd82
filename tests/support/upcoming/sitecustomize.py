"""What the services of the next version say that today's do not.

Python loads this before anything else where PYTHONPATH names this folder, and the next contracts.
"""

import gateway.service as asking
import user_creation.service as deciding
from acme.users.v1 import CreateUserRejected


def command(request, today=asking.command):
    """Ask for what today's gateway asks for, and hand on what it does not know of."""
    asked = today(request)
    asked.referrer = request.referrer
    return asked


def answer(request, created, today=deciding.answer):
    """Decide as today, and give a reason that today's contracts have no name for."""
    outcome = today(request, created)
    if isinstance(outcome, CreateUserRejected):
        outcome.reason = CreateUserRejected.REASON_NOT_WELCOME
        outcome.referrer = request.referrer
    return outcome


asking.command = command
deciding.answer = answer
