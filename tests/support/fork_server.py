"""The process that forks of services are made of: it has imported them (forks.py)."""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from coverage import process_startup

SERVICES = ("gateway", "user_creation", "welcome_email", "crm")
"""All but the data warehouse: pyarrow and deltalake have threads of their own as soon as they are
imported, and no thread survives a fork."""
LATER = ("seaway.database.migrating", "grpc.aio", "httpx")
"""What takes long to import, and is as soon as it is needed."""
COMMANDS = "seaway.commands"
READY = b"ready"
LARGEST = 1 << 20
"""Bytes of what is said on the line."""


def serve(line):
    """Fork whenever somebody asks. Returns in each fork what it is to be, and at the end."""
    commands = iter_modules(import_module(COMMANDS).__path__, f"{COMMANDS}.")
    ours = (*(f"{service}.__main__" for service in SERVICES), *(each.name for each in commands))
    for module in (*ours, *LATER):
        import_module(module)
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "no thread survives a fork"
    running = {}
    line.send(READY)
    with told_of_children() as children:
        while True:
            ready, *_ = select.select([line, children], [], [])
            if children in ready:
                children.recv(LARGEST)
                reap(running)
            if line in ready:
                asked, outputs, *_ = socket.recv_fds(line, LARGEST, 3)
                if not asked:
                    sys.exit()
                pid = os.fork()
                if pid == 0:
                    return json.loads(asked), outputs
                *others, running[pid] = outputs
                for output in others:
                    os.close(output)
                line.send(str(pid).encode())


@contextmanager
def told_of_children():
    """Yield a socket from which something can be read once a child has ended."""
    told, telling = socket.socketpair()
    with told, telling:
        telling.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(telling.fileno())
        try:
            yield told
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def reap(running):
    """Tell of those children that have ended with what they did."""
    for pid in [*running]:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            end = running.pop(pid)
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(end)


def become(asked, outputs):
    """Go on as the service that was asked for, as `python -m` would."""
    for number, output in enumerate(outputs[:2], start=1):
        os.dup2(output, number)
    os.closerange(3, max(outputs) + 1000)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    here = str(Path(__file__).parent)
    beside = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [asked["cwd"], *beside, *(each for each in sys.path if each != here)]
    process_startup()  # measures, if the environment says so
    module, *arguments = asked["words"]
    sys.argv = [module, *arguments]
    sys.modules.pop(f"{module}.__main__", None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(*serve(socket.socket(fileno=int(sys.argv[1]))))
