"""What the monitor can be told."""

from pathlib import Path

from pydantic import Field

from seaway.audit.asking import Endpoints, endpoints
from seaway.errors import SettingsError
from seaway.manifest import NAME, find_root, read_manifest
from seaway.settings import PREFIX, Settings


class MonitorSettings(Settings):
    """Every process's settings, and whom to ask, and how often."""

    audit_every: float = Field(60, gt=0, description="seconds between two audits, at least")
    audit_window: float = Field(
        600, gt=0, description="how many seconds back each reads, at least"
    )
    audit_services: str = Field("", description="NAME=URL,… of the services' metrics ports")
    look_every: float = Field(5, gt=0, description="seconds between two looks at the broker")
    port_offset: int = Field(
        0, ge=0, description="of `seaway dev`: by how much its ports are moved"
    )

    def endpoints(self) -> Endpoints:
        """Return where the services are asked: as told, or else on this machine, by seaway.toml.

        Raises SettingsError if it says neither.
        """
        if not self.audit_services:
            return self._on_this_machine()
        try:
            return endpoints(self.audit_services.split(","))
        except ValueError as error:
            raise SettingsError(f"{PREFIX}AUDIT_SERVICES: {error}") from error

    def _on_this_machine(self) -> Endpoints:
        try:
            return read_manifest(find_root(Path.cwd()) / NAME).endpoints(self.port_offset)
        except SettingsError as error:
            raise SettingsError(f"{PREFIX}AUDIT_SERVICES is empty, and {error}") from error
