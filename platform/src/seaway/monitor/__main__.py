"""python -m seaway.monitor."""

from seaway.monitor.monitor import Monitor
from seaway.monitor.rounds import Rounds
from seaway.monitor.settings import MonitorSettings
from seaway.process import Process, serve
from seaway.service import Service


def build(process: Process) -> Service:
    """Watch everybody, and listen to nothing."""
    settings = process.settings(MonitorSettings)
    rounds = Rounds(settings.audit_every, settings.audit_window)
    monitor = Monitor(process.broker, settings.endpoints(), rounds, settings.look_every)
    process.needs_streams = False  # if they are not as declared, that is for their services to say
    process.health.live["monitor"] = process.during(monitor).goes_on
    return Service("monitor")


if __name__ == "__main__":
    serve("monitor", build)
