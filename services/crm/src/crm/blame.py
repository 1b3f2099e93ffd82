"""Whose fault it is that a call came to nothing: the CRM's, or that of the contact in it.

A CRM that is away takes nobody. One that fails at a contact, takes others, and fails at the same
contact again, is not away: if that passed for an outage, one contact would hold up all for ever.
"""

from dataclasses import dataclass, field

MOST = 1000
"""Contacts that are remembered; of one that was forgotten the next failure is the CRM's again."""


@dataclass(slots=True)
class Blame:
    """What has failed alone, and whether others were taken since. It ends with the process."""

    _taken: int = 0
    """Calls in which contacts were taken."""
    _failed: dict[str, int] = field(default_factory=dict)
    """How many these were when a contact last failed, by its request id, the oldest first."""

    def others_were_taken(self) -> None:
        """Take note that the CRM is not away: it has just taken somebody."""
        self._taken += 1

    def falls_on(self, request_id: str) -> bool:
        """Take note that a contact failed, alone in its call; return whether it is to blame.

        It is if it failed before, and the CRM has taken others since.
        """
        before = self._failed.pop(request_id, self._taken)
        self._failed[request_id] = self._taken
        if len(self._failed) > MOST:
            del self._failed[next(iter(self._failed))]
        return before < self._taken
