"""Who is who at the broker of `seaway dev --secure`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seaway.topology.keys import keep_keys, key_file
from seaway.topology.permissions import Identity, authorization

KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Access:
    """Keys in a folder, and the broker's rules for those who hold them."""

    folder: Path
    rules: str
    """A part of the nats-server's configuration."""

    @classmethod
    def among(cls, identities: Sequence[Identity], folder: Path) -> "Access":
        """Give each a key, unless it has one, and write down what it may do."""
        keys = keep_keys(folder, [identity.name for identity in identities])
        return cls(folder, authorization(identities, keys))

    def of(self, name: str) -> dict[str, str]:
        """Return the settings with which a program is the one of this name."""
        return {"SEAWAY_NATS_CREDENTIALS_FILE": str(key_file(self.folder, name))}
