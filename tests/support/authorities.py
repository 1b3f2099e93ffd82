"""Certificates in files, as somebody mounts them, and clients that trust and are trusted."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import trustme


@dataclass
class Mounted:
    """Three files, which may be replaced."""

    folder: Path

    @property
    def files(self):
        return [str(self.folder / name) for name in ("tls.crt", "tls.key", "ca.crt")]

    def mount(self, server_ca, client_ca=None, key_of=None):
        """Write a new certificate of a server, and whom its clients are known by."""
        issued = server_ca.issue_cert("127.0.0.1", "localhost")
        key = (key_of or issued).private_key_pem
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        contents = [chain, key.bytes(), (client_ca or server_ca).cert_pem.bytes()]
        for file, content in zip(map(Path, self.files), contents, strict=True):
            beside = file.with_suffix(".new")  # nobody sees half a file, as with a mounted Secret
            beside.write_bytes(content)
            beside.rename(file)

    def lose_the_key(self):
        Path(self.files[1]).unlink()


@dataclass
class Person:
    """A client: whom he trusts, and who vouches for him."""

    trusts: trustme.CA
    known_by: trustme.CA | None = None

    def __post_init__(self):
        self.issued = self.known_by and self.known_by.issue_cert("back-office.example")

    def channel(self, port):
        mine = [self.trusts.cert_pem.bytes()]
        if self.issued:
            mine += [self.issued.private_key_pem.bytes(), self.issued.cert_chain_pems[0].bytes()]
        local = [("grpc.use_local_subchannel_pool", 1)]
        credentials = grpc.ssl_channel_credentials(*mine)
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, local)

    def http(self, port):
        context = ssl.create_default_context(cadata=self.trusts.cert_pem.bytes().decode())
        if self.issued:
            self.issued.configure_cert(context)
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=30)

    def write(self, folder):
        """Write what the command line wants; return its options."""
        files = {"--ca": self.trusts.cert_pem}
        if self.issued:
            files |= {
                "--cert": self.issued.cert_chain_pems[0],
                "--key": self.issued.private_key_pem,
            }
        for option, pem in files.items():
            pem.write_to_path(folder / f"mine{option}.pem")
        return [word for option in files for word in (option, str(folder / f"mine{option}.pem"))]
