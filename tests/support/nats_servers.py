"""The broker of a test: a program of this machine, or a container.

Not beside the databases: what conftest.py imports counts as reached by whatever is tested.
"""

from databases import IN_CONTAINERS

if IN_CONTAINERS:
    from containers import nats_container as nats_server
else:
    from seaway.testing import nats_server

__all__ = ["nats_server"]
