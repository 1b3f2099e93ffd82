"""What came of messages that were tried alone, beside the table: the table says what it holds.

One small object for each, named by a hash of its id, and gone as soon as the message has a row.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from uuid import uuid4

from pyarrow.fs import FileSelector, FileSystem
from seaway.inbox import Trials

from data_warehouse.place import Place


@dataclass(frozen=True, slots=True)
class Trial:
    """What is on record of one message."""

    failures: int = 0
    kills: int = 0
    begun_by: str = ""
    """The process that tries it, until that has ended well or badly."""

    def seen_by(self, process: str) -> Trials:
        """Return what came of it: a trial that another process left open has killed that one."""
        left_open = self.begun_by not in ("", process)
        return Trials(self.failures, self.kills + left_open)


@dataclass(slots=True)
class TrialRecord:
    """The trials of all durables that write to one table. Making one does no I/O.

    Everything blocks; errors of the store are OSErrors. A message is in the hands of one process
    at a time, so nobody else writes what is read here. A record that a power cut has torn is none.
    """

    place: Place
    """Of the folder, or the prefix, in which the objects are."""
    process: str = field(default_factory=lambda: uuid4().hex)
    """Tells a trial that this process left open from one whose process is no more."""
    _begun: set[str] = field(default_factory=set)
    """What this process has put on record, and not taken off."""

    def known(self, durable: str, message_ids: Sequence[str]) -> Mapping[str, Trials]:
        """Return what came of those that are on record."""
        store, root = self.place.objects()
        there = store.get_file_info(FileSelector(f"{root}/{durable}", allow_not_found=True))
        names = {file.base_name for file in there}
        return {
            message_id: self._read(path).seen_by(self.process)
            for message_id in message_ids
            if (path := _path(durable, message_id)).rpartition("/")[2] in names
        }

    def begun(self, durable: str, message_id: str) -> Trials:
        """Take note that this process now tries it; return what came before."""
        path = _path(durable, message_id)
        before = self._read(path).seen_by(self.process)
        self._write(path, Trial(before.failures, before.kills, self.process))
        return before

    def failed(self, durable: str, message_id: str) -> int:
        """Take note that it failed; return how often it has."""
        path = _path(durable, message_id)
        trial = self._read(path)
        self._write(path, replace(trial, failures=trial.failures + 1, begun_by=""))
        return trial.failures + 1

    def released(self, durable: str, message_id: str) -> None:
        """Take note that its trial has ended, through no fault of its own."""
        path = _path(durable, message_id)
        if path in self._begun:
            self._write(path, replace(self._read(path), begun_by=""))

    def handled(self, durable: str, message_id: str) -> None:
        """Have nothing on record of it any more, if this process has put it there."""
        if _path(durable, message_id) in self._begun:
            self.forget(durable, message_id)

    def forget(self, durable: str, message_id: str) -> None:
        """Have nothing on record of it any more."""
        self._drop(_path(durable, message_id))

    def _drop(self, path: str) -> None:
        store, root = self.place.objects()
        with suppress(FileNotFoundError):
            store.delete_file(f"{root}/{path}")
        self._begun.discard(path)

    def purge(self, durable: str, before: datetime) -> int:
        """Have nothing on record of what was last tried before a moment; return how many went."""
        store, root = self.place.objects()
        there = store.get_file_info(FileSelector(f"{root}/{durable}", allow_not_found=True))
        old = [f"{durable}/{file.base_name}" for file in there if file.mtime < before]
        for path in old:
            self._drop(path)
        return len(old)

    def _read(self, path: str) -> Trial:
        store, root = self.place.objects()
        try:
            with store.open_input_stream(f"{root}/{path}") as file:
                return Trial(**json.loads(file.read()))
        except (FileNotFoundError, ValueError, TypeError):
            return Trial()

    def _write(self, path: str, trial: Trial) -> None:
        store, root = self.place.objects()
        _make_room(store, f"{root}/{path}".rpartition("/")[0])
        with store.open_output_stream(f"{root}/{path}") as file:
            file.write(json.dumps(asdict(trial)).encode())
        self._begun.add(path)


def _make_room(store: FileSystem, folder: str) -> None:
    if store.type_name == "local":  # in object storage there are no folders
        store.create_dir(folder, recursive=True)


def _path(durable: str, message_id: str) -> str:
    # An id is whatever somebody has written into a header.
    return f"{durable}/{sha256(message_id.encode()).hexdigest()}.json"
