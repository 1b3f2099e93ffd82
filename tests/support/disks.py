"""Disks of a test's own: a small one that fills up, and one that can be copied at an instant."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

TRIES = 20
NEEDED = ("mount", "umount", "losetup", "mkfs.ext4")


def _missing():
    """What stands in the way of mounting here; empty: nothing."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if missing := [program for program in NEEDED if shutil.which(program, path=_path()) is None]:
        return f"no {', '.join(missing)}: apt-get install mount e2fsprogs"
    return ""


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


needs_mounts = pytest.mark.skipif(bool(_missing()), reason=_missing())


@contextmanager
def small_disk(megabytes):
    """A disk of so many megabytes, in memory; returns where it is mounted."""
    folder = Path(tempfile.mkdtemp(prefix="seaway-small-"))
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        _run("umount", folder)
        folder.rmdir()


def fill(folder, leave=0):
    """Write until the disk is full but for so many bytes; returns the file that fills it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        free = shutil.disk_usage(folder).free - leave
        try:
            while free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
        except OSError:  # no space left: as was wanted
            pass
    return ballast


class Disk:
    """An ext4 file system in a file. What has not been synced is not in the file: a copy of it
    is what the disk would hold if the power went now.
    """

    def __init__(self, image):
        self.image = image
        self.folder = None
        self._device = ""

    @classmethod
    def new(cls, image, megabytes):
        """Make an empty one."""
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        return cls(image)

    def __enter__(self):
        """Mount it. What a power cut left behind is repaired from the journal, as at a boot."""
        self.folder = Path(tempfile.mkdtemp(prefix="seaway-disk-"))
        self._device = _run("losetup", "--find", "--show", self.image).strip()
        _run("mount", self._device, self.folder)
        self.folder.chmod(0o755)
        return self

    def __exit__(self, *_):
        _run("umount", self.folder)
        _run("losetup", "--detach", self._device)
        self.folder.rmdir()

    def settle(self):
        """Have everything written that was made so far, as it is on a machine that runs long."""
        _run("sync", "--file-system", self.folder)

    def copy_to(self, image):
        """Copy the disk as it is at one instant.

        Whoever writes to it is to be paused. The kernel may still write by itself what it had
        not: if it does so during the copy, that is no instant, and it is copied again.
        """
        for _ in range(TRIES):
            before = self._writes()
            _run("cp", "--sparse=always", self.image, image)
            if self._writes() == before:
                return Disk(image)
        raise RuntimeError("the disk is never still")

    def _writes(self):
        """How many writes it has seen, and how many are under way."""
        numbers = Path("/sys/block", Path(self._device).name, "stat").read_text().split()
        return numbers[4], numbers[8]


def _run(*arguments):
    ran = subprocess.run(
        list(map(str, arguments)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": _path()},
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: {ran.stderr}")
    return ran.stdout


def roomy_folder(folder, megabytes):
    """Return where so much has room without wearing out a disk: memory, or else `folder`."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free >= megabytes << 20
    return Path(tempfile.mkdtemp(prefix="seaway-images-", dir=memory)) if roomy else folder
