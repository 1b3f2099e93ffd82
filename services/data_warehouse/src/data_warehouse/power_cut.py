"""What a local table needs to come through a power cut: delta-rs itself syncs nothing.

All commits are synced before anything is acked. Those that the power cut falls into may be there
in part; nothing of them was acked, so they are taken back, and their messages come again.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import structlog
from pyarrow import ArrowInvalid
from pyarrow.parquet import read_table

log = structlog.get_logger("data_warehouse")

LOG = "_delta_log"
DOUBTFUL = 50
"""How many commits a power cut may leave behind unsynced; a commit of ours syncs all before it."""


@dataclass(slots=True)
class Commit:
    """What one commit changes, as far as it can be read."""

    path: Path
    is_readable: bool = True
    added: dict[str, int] = field(default_factory=dict)
    """Files with their sizes."""
    removed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path) -> "Commit":
        """Read it."""
        commit = cls(path)
        try:
            for line in path.read_text().splitlines() or [""]:
                commit._take(json.loads(line))
        except ValueError:
            commit.is_readable = False
        return commit

    def _take(self, action: object) -> None:
        match action:
            case {"add": {"path": str(path), "size": int(size)}}:
                self.added[unquote(path)] = size
            case {"remove": {"path": str(path)}}:
                self.removed.add(unquote(path))


def synced(url: str, versions: Iterable[int]) -> None:
    """Have these commits, and the files that they add, on the disk for good.

    Those that upkeep has deleted are in a checkpoint: the log keeps none older than 30 days.
    """
    folder = Path(url)
    paths = [folder / LOG / f"{version:020}.json" for version in versions]
    commits = [Commit.of(path) for path in paths if path.exists()]
    files = {folder / path for commit in commits for path in commit.added}
    folders = {file.parent for file in files} | {folder, folder / LOG}
    for path in [*files, *(commit.path for commit in commits), *folders]:
        _sync(path)


def checkpointed(url: str) -> None:
    """Have the last checkpoint on the disk for good, before what it stands for is deleted."""
    log = Path(url, LOG)
    for path in [*sorted(log.glob("*.checkpoint*.parquet"))[-1:], log / "_last_checkpoint", log]:
        _sync(path)


def mended(url: str) -> int:
    """Take back the last commits if they are not all there; return how many were taken back.

    So it is with a checkpoint: nothing of what it stands for is deleted before it is synced.
    """
    _without_torn_checkpoint(Path(url, LOG))
    commits = [Commit.of(path) for path in sorted(Path(url, LOG).glob("*.json"))[-DOUBTFUL:]]
    removed: set[str] = set()
    whole = len(commits)
    for number, commit in reversed(list(enumerate(commits))):
        needed = {path: size for path, size in commit.added.items() if path not in removed}
        if not commit.is_readable or any(_size(url, p) != size for p, size in needed.items()):
            whole = number
        removed |= commit.removed
    for commit in commits[whole:]:
        commit.path.rename(commit.path.with_suffix(".torn"))
        log.warning("took back a commit that was not all there", version=int(commit.path.stem))
    return len(commits) - whole


def _without_torn_checkpoint(folder: Path) -> None:
    for path in sorted(folder.glob("*.checkpoint*.parquet"))[-1:]:
        try:
            read_table(path)
        except (ArrowInvalid, OSError):
            path.rename(path.with_suffix(".torn"))
            log.warning("left out a checkpoint that was not all there", file=path.name)
            (folder / "_last_checkpoint").unlink(missing_ok=True)
    last = folder / "_last_checkpoint"
    try:
        json.loads(last.read_text() if last.exists() else "{}")
    except ValueError:
        last.unlink()


def _size(url: str, path: str) -> int:
    file = Path(url, path)
    return file.stat().st_size if file.exists() else -1


def _sync(path: Path) -> None:
    if path.exists():  # or it has been compacted and deleted meanwhile
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
