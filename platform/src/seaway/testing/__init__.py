"""What the tests of a service need: a broker in memory, all services running, a real broker.

`MemoryBroker` passes the same contract suite as the real one. With it, `running(...)` and
`system.send(...)` no test waits, polls or sleeps.
"""

from seaway.testing.crashing import Crash, CrashTest, crash_points, killed_at
from seaway.testing.memory_broker import MemoryBroker
from seaway.testing.memory_durable import MemoryDelivery, MemoryPull
from seaway.testing.nats_server import NatsServer, nats_server
from seaway.testing.service_process import ServiceProcess
from seaway.testing.system import System, running

__all__ = [
    "Crash",
    "CrashTest",
    "MemoryBroker",
    "MemoryDelivery",
    "MemoryPull",
    "NatsServer",
    "ServiceProcess",
    "System",
    "crash_points",
    "killed_at",
    "nats_server",
    "running",
]
