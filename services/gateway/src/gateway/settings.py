"""What the gateway can be told."""

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from seaway.rpc import Certificates, Clients
from seaway.settings import Settings


class GatewaySettings(Settings):
    """Where it listens, and how much one caller may ask of it."""

    grpc_host: str = Field("127.0.0.1", description="the address that gRPC is served on")
    grpc_port: int = Field(50051, ge=0, le=65535, description="… and its port")
    web_host: str = Field("127.0.0.1", description="the address that browsers are served on")
    web_port: int = Field(8080, ge=0, le=65535, description="… and its port")
    web_origins: str = Field(
        "", description="whose pages may call, too: https://a.org,https://b.org"
    )
    stream_seconds: float = Field(60, gt=0, description="the longest that a stream lasts")
    heartbeat_seconds: float = Field(15, gt=0, description="how often a quiet stream is heard of")
    streams_per_connection: int = Field(20, ge=1, description="open at once on one connection")
    watchers: int = Field(500, ge=0, description="WatchSignUp at once; 0: no cap")
    watchers_per_client: int = Field(5, ge=0, description="… from one network; 0: no cap")
    sign_ups_per_minute: int = Field(
        5, ge=0, description="from one network, and of one address; 0: no limit"
    )
    sign_ups_per_hour: int = Field(20, ge=0, description="… in an hour; 0: none for an hour")
    backlog_seconds: float = Field(
        60, ge=0, description="how long requests may wait until no more are taken; 0: for ever"
    )
    trusted_proxies: str = Field(
        "", description="who may say where a call comes from: 10.0.0.0/8,fd00::/8"
    )
    tls_certificate_file: str = Field(
        "", description="who we are, with the chain; empty: no TLS, on neither port"
    )
    tls_key_file: str = Field("", validate_default=True, description="… and its key")
    tls_client_ca_file: str = Field(
        "", description="who vouches for clients; then gRPC is for those who have a certificate"
    )
    reveal_taken: Literal["certificate", "anybody"] = Field(
        "certificate", description="who may be told that an address is taken"
    )

    @field_validator("web_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in filter(None, origins.split(",")):
            if not re.fullmatch(r"https?://[a-z0-9.\[\]:-]+", origin):
                raise ValueError(f"{origin!r} is no origin such as https://example.org")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: str) -> str:
        Clients.behind(proxies)
        return proxies

    @field_validator("reveal_taken")
    @classmethod
    def _is_not_for_everybody(cls, reveal_taken: str, others: ValidationInfo) -> str:
        if reveal_taken == "anybody" and others.data.get("production", True):
            raise ValueError("'anybody' is for your own machine, and SEAWAY_PRODUCTION is set")
        if reveal_taken == "anybody" and others.data.get("tls_certificate_file"):
            raise ValueError("'anybody' is for your own machine, and TLS is on")
        return reveal_taken

    @field_validator("tls_key_file")
    @classmethod
    def _has_a_certificate(cls, key: str, others: ValidationInfo) -> str:
        if bool(key) != bool(others.data.get("tls_certificate_file")):
            raise ValueError("a certificate needs its key, and a key its certificate")
        return key

    @field_validator("tls_client_ca_file")
    @classmethod
    def _is_encrypted(cls, authorities: str, others: ValidationInfo) -> str:
        if authorities and not others.data.get("tls_certificate_file"):
            raise ValueError("clients are known only where TLS is on: set a certificate, too")
        return authorities

    @property
    def certificates(self) -> Certificates | None:
        """What TLS is made of; None: there is none."""
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_client_ca_file)
        return Certificates(*files) if self.tls_certificate_file else None

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins, one by one."""
        return tuple(filter(None, self.web_origins.split(",")))
