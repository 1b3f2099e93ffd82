"""What this service can be told."""

from pydantic import Field, SecretStr
from seaway.settings import Settings


class WarehouseSettings(Settings):
    """Every process's settings, and where the table is."""

    warehouse_url: str = Field(
        ".seaway/warehouse/users", description="a folder, or s3://bucket/path"
    )
    warehouse_s3_endpoint: str = Field("", description="of an S3 that is not Amazon's")
    warehouse_s3_region: str = Field("us-east-1", description="of the bucket")
    warehouse_s3_access_key_id: SecretStr = Field(
        SecretStr(""), description="empty: what the machine's role allows"
    )
    warehouse_s3_secret_access_key: SecretStr = Field(
        SecretStr(""), description="… and its secret"
    )
    warehouse_batch_seconds: float = Field(
        5.0, ge=0, le=20, description="how long a batch of messages may wait to fill"
    )
    warehouse_upkeep_seconds: float = Field(
        600.0, gt=0, description="how often small files are made one, and old ones deleted"
    )
    warehouse_keep_hours: int = Field(
        24, ge=1, description="how long files stay that no longer belong to the table"
    )
