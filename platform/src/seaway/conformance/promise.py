"""What a program is found to keep, or not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from seaway.errors import SeawayError

type Found = Literal["passed", "failed", "not tried"]


class Broken(SeawayError):
    """A promise was not kept. The sentence says what was seen, with the value."""


class NotTried(SeawayError):
    """Nothing can be said about a promise. The sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one promise."""

    promise: str
    found: Found
    reason: str
    """What was seen, with the value."""

    def line(self) -> str:
        """Return it for a person."""
        return f"{self.found:9}  {self.promise:12}  {self.reason}"

    def to_json(self) -> Mapping[str, str]:
        """Return it as a JSON object."""
        return asdict(self)
