"""Who we are to those who call, and who may vouch for them: from files that may change.

They are looked at whenever somebody connects, so that a renewed certificate needs no restart, and
no stream ends. Files that do not fit together, as while they are being replaced, are not used.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import grpc
import structlog

from seaway.errors import SettingsError

log = structlog.get_logger("seaway.rpc")

type Mark = tuple[tuple[int, int, int], ...]
"""Which version of each file it is: when it was written, how long it is, where it lies."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files said."""

    mark: Mark
    server: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext


class Certificates:
    """A certificate with its chain, its key, and whose clients are known, if any are.

    Without `clients` nobody is asked for a certificate. With it, whoever calls by gRPC must have
    one, since gRPC's Python cannot ask for one and do without; on the web port one may.
    """

    def __init__(self, certificate: str, key: str, clients: str = "") -> None:
        self._files = [Path(file) for file in (certificate, key, clients) if file]
        self._knows_clients = bool(clients)
        self._loaded: Loaded | None = None
        self._failed: Mark | None = None
        self._lock = Lock()  # gRPC asks from threads of its own

    def current(self) -> Loaded:
        """Return what the files say now, or last said that could be used.

        Raises SettingsError if they never could.
        """
        with self._lock:
            mark: Mark = ()
            try:
                mark = self._mark()
                if self._loaded is None or mark not in (self._loaded.mark, self._failed):
                    self._loaded, self._failed = self._load(mark), None
            except (OSError, ValueError) as error:
                if self._loaded is None:
                    files = ", ".join(map(str, self._files))
                    raise SettingsError(f"no certificate and key that fit: {files}") from error
                if mark != self._failed:
                    log.warning("certificates cannot be read; the last stay", error=str(error))
                self._failed = mark
            return self._loaded

    def for_grpc(self) -> grpc.ServerCredentials:
        """Return what a gRPC server needs. Raises SettingsError."""
        return grpc.dynamic_ssl_server_credentials(
            self.current().server, lambda: self.current().server, self._knows_clients
        )

    def for_web(self) -> ssl.SSLContext:
        """Return what any other server needs. Raises SettingsError."""

        def renew(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = self.current().context

        context = self._tls()
        context.sni_callback = renew  # called at each handshake, with a name or without
        return context

    def _mark(self) -> Mark:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _load(self, mark: Mark) -> Loaded:
        context = self._tls()  # which refuses a key of another certificate
        chain, key, *clients = [file.read_bytes() for file in self._files]
        server = grpc.ssl_server_certificate_configuration([(key, chain)], *clients)
        if self._mark() != mark:
            raise ValueError("they change")
        return Loaded(mark, server, context)

    def _tls(self) -> ssl.SSLContext:
        certificate, key, *clients = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        # Of an encrypted key it would ask a person for the password.
        context.load_cert_chain(certificate, key, password=lambda: "")
        for file in clients:
            context.load_verify_locations(file)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context
