"""What the fake CRM does wrong, when it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

FOR_EVER = -1


@dataclass(slots=True)
class Faults:
    """Each may be switched on alone or with others. Without any, it does as it should."""

    times: int = FOR_EVER
    """For how many calls; then there are no faults any more."""
    only: str = ""
    """Only for calls that hold this somewhere, such as a contact's e-mail; others are no calls."""
    seconds: float = 0.0
    """It answers so much later."""
    status: int = 0
    """It answers with this, and has done nothing."""
    body: str = ""
    """… and says this, instead of what HubSpot would."""
    retry_after: str = ""
    """… and has this header."""
    location: str = ""
    """… and this one."""
    partial: Mapping[str, str] = field(default_factory=dict)
    """It refuses contacts whose e-mail holds one of these, for this category: status 207."""
    silent: str = ""
    """It takes contacts whose e-mail holds this, and says nothing of them."""
    disconnect: Literal["", "before", "after"] = ""
    """It cuts its answer off, before or after it has done what it was asked."""
    padding: int = 0
    """Its answer is so many bytes longer."""

    @classmethod
    def told(cls, switches: Any) -> Self:
        """Read them from JSON. Raises ValueError with those that it does not know."""
        if not isinstance(switches, dict):
            raise ValueError('an object of switches, such as {"status": 503}')
        if unknown := switches.keys() - {each.name for each in fields(cls)}:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        return cls(**switches)

    def befall(self, body: bytes) -> bool:
        """Whether a call has to do with them, given what it says."""
        return self.only.encode() in body

    def category_for(self, email: str) -> str:
        """Return why it refuses this one; empty: it does not."""
        return next((why for part, why in self.partial.items() if part in email), "")
