"""Where a table is, and how it is reached."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from pyarrow.dataset import Dataset
from pyarrow.fs import FileSystem, LocalFileSystem, S3FileSystem, SubTreeFileSystem

from data_warehouse.settings import WarehouseSettings

CONNECT_WITHIN = 2
ANSWER_WITHIN = 10
PATIENT = {"connect_timeout": f"{CONNECT_WITHIN}s", "timeout": f"{ANSWER_WITHIN}s"}
"""How long one request may take; how often it is tried again is in delta-rs's own hands."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or a path in object storage with what it takes to get in."""

    url: str
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, settings: WarehouseSettings) -> "Place":
        """Return what the settings say."""
        if "://" not in settings.warehouse_url:
            return cls(str(Path(settings.warehouse_url).absolute()))
        endpoint = settings.warehouse_s3_endpoint
        told = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": settings.warehouse_s3_region,
            "AWS_ACCESS_KEY_ID": settings.warehouse_s3_access_key_id.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": settings.warehouse_s3_secret_access_key.get_secret_value(),
            "AWS_ALLOW_HTTP": "true" if endpoint.startswith("http://") else "",
            # A commit is a file that may not exist yet: who comes second is refused.
            "conditional_put": "etag",
        }
        return cls(settings.warehouse_url, PATIENT | {k: v for k, v in told.items() if v})

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.url

    def beside(self, suffix: str) -> "Place":
        """Return the place of another table, next to this one."""
        return Place(f"{self.url.rstrip('/')}.{suffix}", self.options)

    def table(self) -> DeltaTable:
        """Return the table that is here, as it is now. Raises TableNotFoundError."""
        return _Table(self)

    def objects(self) -> tuple[FileSystem, str]:
        """Return where single objects can be kept here, and the path at which. Does no I/O."""
        if self.is_local:
            return LocalFileSystem(), self.url
        scheme, _, endpoint = self.options.get("AWS_ENDPOINT_URL", "").rpartition("://")
        store = S3FileSystem(
            access_key=self.options.get("AWS_ACCESS_KEY_ID"),
            secret_key=self.options.get("AWS_SECRET_ACCESS_KEY"),
            region=self.options.get("AWS_REGION"),
            scheme=scheme or "https",
            endpoint_override=endpoint or None,
            connect_timeout=CONNECT_WITHIN,
            request_timeout=ANSWER_WITHIN,
        )
        return store, self.url.partition("://")[2].rstrip("/")


class _Table(DeltaTable):
    """A table whose files Arrow reads by itself, not by way of delta-rs.

    That way Arrow's threads take Python's lock: a slow store holds up the event loop, and a
    process that ends while one of them is about to take it is aborted by Python up to 3.13.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(place.url, storage_options=place.options)
        self._place = place

    def to_pyarrow_dataset(self, *args: Any, **how: Any) -> Dataset:
        """Return its rows, to be read later."""
        store, root = self._place.objects()
        how["filesystem"] = SubTreeFileSystem(root, store)
        return super().to_pyarrow_dataset(*args, **how)
