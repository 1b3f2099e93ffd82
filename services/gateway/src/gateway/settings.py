"""What the gateway can be told."""

from pydantic import Field
from seaway.settings import Settings


class GatewaySettings(Settings):
    """Where it listens, and how much one caller may ask of it."""

    grpc_host: str = Field("127.0.0.1", description="the address that gRPC is served on")
    grpc_port: int = Field(50051, ge=0, le=65535, description="… and its port")
    stream_seconds: float = Field(60, gt=0, description="the longest that a stream lasts")
    heartbeat_seconds: float = Field(15, gt=0, description="how often a quiet stream is heard of")
    streams_per_connection: int = Field(20, ge=1, description="open at once on one connection")
    watchers: int = Field(500, ge=0, description="WatchSignUp at once; 0: no cap")
    watchers_per_client: int = Field(5, ge=0, description="… from one address; 0: no cap")
