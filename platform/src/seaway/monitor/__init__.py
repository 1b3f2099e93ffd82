"""The monitor: one process that watches what no service can see by itself.

    python -m seaway.monitor

Every few seconds it looks at the broker's streams and durables, every minute it audits what was
settled since, and it exports both. It changes nothing. One is enough: a second one exports the
same again.
"""

from seaway.monitor.looking import Backlog, Sight, look
from seaway.monitor.monitor import Monitor
from seaway.monitor.rounds import Rounds

__all__ = ["Backlog", "Monitor", "Rounds", "Sight", "look"]
