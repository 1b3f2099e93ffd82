"""What one caller may ask of us."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may ask of us. Tests and benchmarks raise them by name."""

    request_bytes: int = 16384
    metadata_bytes: int = 8192
    streams_per_connection: int = 20
    calls: int = 2000
    """In hand at the same time, on all connections; 0: any number."""
    calls_without_request: int = 1000
    """Of those, the calls whose request has yet to arrive; of more, the oldest is ended."""
    health_streams: int = 100
    """Of those, the ones that watch our health: they last until we stop."""
    call_seconds: float = 5.0
    """The longest that a call with one answer takes."""
    stream_seconds: float = 60.0
    """The longest that a stream lasts. Then it ends with UNAVAILABLE, reason RESUME."""

    def options(self) -> list[tuple[str, int]]:
        """Return them as gRPC knows them, with what else keeps a connection honest."""
        return [
            ("grpc.max_receive_message_length", self.request_bytes),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_connection_age_ms", 1_800_000),
            ("grpc.max_connection_age_grace_ms", 30_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.so_reuseport", 0),
        ]
