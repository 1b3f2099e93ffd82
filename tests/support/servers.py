"""The broker and the database of a test: programs of this machine, or containers.

`make test-containers` asks for the latter: the images of compose.yaml, as they are set up there.
"""

import os

IN_CONTAINERS = bool(os.environ.get("SEAWAY_TEST_CONTAINERS"))

if IN_CONTAINERS:
    from containers import PostgreSQLContainer as PostgreSQL
    from containers import nats_container as nats_server

    DATABASES = ("postgresql",)
else:
    from postgresql import PostgreSQL
    from seaway.testing import nats_server

    DATABASES = ("sqlite", "postgresql")

__all__ = ["DATABASES", "IN_CONTAINERS", "PostgreSQL", "nats_server"]
