"""The database of a test: a program of this machine, or a container.

`make test-containers` asks for the latter: the images of compose.yaml, as they are set up there.
"""

import os

IN_CONTAINERS = bool(os.environ.get("SEAWAY_TEST_CONTAINERS"))

if IN_CONTAINERS:
    from containers import PostgreSQLContainer as PostgreSQL

    DATABASES = ("postgresql",)
else:
    from postgresql import PostgreSQL

    DATABASES = ("sqlite", "postgresql")

__all__ = ["DATABASES", "IN_CONTAINERS", "PostgreSQL"]
