"""What one service has told the audit, line by line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from seaway.audit.telling import FORGOTTEN
from seaway.service import Start


class Recorded(NamedTuple):
    """A message that a durable is done with, as its service tells it."""

    sequence: int
    sha256: bytes
    forgotten: bool = False
    """Whether nothing else is kept of it, on purpose; it has no hash then."""


class RowTold(NamedTuple):
    """A row, as its service tells it."""

    sha256: bytes
    at: datetime
    forgotten: bool = False
    """Whether it was deleted on purpose."""


@dataclass(slots=True)
class DurableTold:
    """What a service tells of one of its durables."""

    start: Start
    is_kept: bool
    """Whether it keeps a record of what this durable has handled."""
    records: dict[str, Recorded] = field(default_factory=dict)
    """By message id."""


@dataclass(slots=True)
class Told:
    """Everything that one service told of one stream."""

    service: str
    tells: bool = True
    """Whether it can be asked at all; a program in another language need not."""
    durables: dict[str, DurableTold] = field(default_factory=dict)
    rows: dict[str, dict[str, RowTold]] = field(default_factory=dict)
    """By event type, by key. A type is there even if there are no rows."""
    is_whole: bool = False
    """Whether the answer has come to its end."""
    second_rows: list[tuple[str, str]] = field(default_factory=list)
    """Event type and key of each row whose key another row has, too."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in one line. Raises ValueError if it is not understood, or says what went wrong."""
        forgotten = line.get("outcome") == FORGOTTEN
        match line:
            case {
                "durable": str(durable),
                "sequence": int(sequence),
                "message_id": str(id),
                "sha256": str(sha256),
            }:
                record = Recorded(sequence, bytes.fromhex(sha256), forgotten)
                self._add_record(self.durables[durable].records, id, record)
            case {"row": str(type_), "key": str(key), "at": str(at), "sha256": str(sha256)}:
                self._add_row(type_, key, RowTold(bytes.fromhex(sha256), _moment(at), forgotten))
            case {"durable": str(durable), "start": "beginning" | "now" as start, "kept": kept}:
                self.durables[durable] = DurableTold(start, bool(kept))
            case {"projection": str(type_)}:
                self.rows[type_] = {}
            case {"end": True}:
                self.is_whole = True
            case {"service": str()}:
                pass
            case _:
                raise ValueError(str(line.get("error", f"not understood: {line}")))

    def _add_record(self, records: dict[str, Recorded], id: str, record: Recorded) -> None:
        """Add it; what is kept counts for more than that it is to be forgotten."""
        if id not in records or not record.forgotten:
            records[id] = record

    def _add_row(self, type_: str, key: str, row: RowTold) -> None:
        known = self.rows[type_].get(key)
        if known is None or known.forgotten:
            self.rows[type_][key] = row
        elif not row.forgotten:
            self.second_rows.append((type_, key))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"not a moment, because it has no time zone: {text}")
    return moment
