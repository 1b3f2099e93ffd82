"""A server that speaks S3, on this machine: real HTTP, buckets in its memory."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

from processes import free_ports

START_WITHIN = 120.0
_numbers = count(1)


@dataclass(frozen=True)
class ObjectStore:
    port: int

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def new_bucket(self):
        """Make an empty bucket; return its name."""
        name = f"lake-{next(_numbers)}"
        urlopen(Request(f"{self.endpoint}/{name}", method="PUT"), timeout=30).close()
        return name

    def answers(self):
        with socket.socket() as there:
            return there.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def object_store():
    """Run one; it ends with the context, and all that it holds."""
    store = ObjectStore(*free_ports(1))
    moto = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        [moto, "-H", "127.0.0.1", "-p", str(store.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            give_up = time.monotonic() + START_WITHIN
            while not store.answers():
                assert server.poll() is None, "moto_server has ended"
                assert time.monotonic() < give_up, "moto_server does not answer"
                time.sleep(0.05)
            yield store
        finally:
            server.kill()
