"""What differs between two configurations, and which differences are unsafe to bring about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seaway.topology.backbone import Config

START = {"deliver_policy", "opt_start_seq", "opt_start_time"}
"""Where a durable starts: of use only when it is made, and never changed afterwards."""
LEFT_OUT: tuple[Any, ...] = (None, False, 0, "", [], {}, "default")
"""The broker leaves a setting out of its answers when it has one of these values."""
DURATIONS = {"max_age", "duplicate_window", "ack_wait", "inactive_threshold"}
UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not what it should be."""

    setting: str
    found: Any
    wanted: Any

    def becomes(self) -> str:
        """Return what a change does to it: `max_age from 7 days to 30 days`."""
        return f"{self.setting} from {self._shown(self.found)} to {self._shown(self.wanted)}"

    def now_is(self) -> str:
        """Return what is wrong with it: `max_age is 7 days, declared is 30 days`."""
        found, wanted = self._shown(self.found), self._shown(self.wanted)
        return f"{self.setting} is {found}, declared is {wanted}"

    def _shown(self, value: Any) -> str:
        match value:
            case int() if self.setting in DURATIONS and value > 0:
                return duration(value)
            case -1 | 0 if self.setting.startswith("max_"):
                return "no limit"
            case bool():
                return "on" if value else "off"
            case {"src": source, "dest": target}:
                return f"{source} as {target}"
            case dict():
                own = {k: v for k, v in value.items() if not k.startswith("_nats.")}
                return " and ".join(f"{k} {v}" for k, v in own.items()) or "nothing"
            case list():
                return " and ".join(map(str, value)) or "nothing"
        return str(value or "nothing")


def differences(want: Config, found: Config) -> list[Difference]:
    """Return every declared setting that the broker has otherwise."""
    found = {**found, "filter_subjects": filters(found)}
    return [
        Difference(setting, found.get(setting, _default(value)), value)
        for setting, value in want.items()
        if setting not in START and not _same(value, found.get(setting))
    ]


def dangers_of(
    changed: Sequence[Difference],
    *,
    kept_bytes: int = 0,
    kept_seconds: float = 0.0,
    pending: int = 0,
) -> tuple[str, ...]:
    """Return why bringing these about is unsafe, a sentence for each reason."""
    kept = Kept(kept_bytes, kept_seconds, pending)
    said = (danger(d, kept) for d in changed if (danger := DANGERS.get(d.setting)))
    return tuple(sentence for sentence in said if sentence)


def removal_dangers(pending: int) -> tuple[str, ...]:
    """Return why deleting a durable with so many unsettled messages is unsafe."""
    lost = f"{pending} pending messages would never be handled"
    return (lost,) if pending else ()


def duration(nanoseconds: int) -> str:
    """Return `30 days`, `5 s`: the largest unit that needs no fraction."""
    seconds = nanoseconds / 1e9
    for size, unit in UNITS:
        if seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def filters(config: Config) -> list[str]:
    """Return what a durable listens to; the API has a field for one and a field for several."""
    one = config.get("filter_subject")
    return list(config.get("filter_subjects") or ([one] if one else []))


def covers(pattern: str, subjects: str) -> bool:
    """Return whether every subject that fits `subjects` fits `pattern`, too."""
    ours, theirs = pattern.split("."), subjects.split(".")
    for position, token in enumerate(ours):
        if token == ">":
            return len(theirs) > position
        if position >= len(theirs) or theirs[position] == ">":
            return False
        if token not in ("*", theirs[position]):
            return False
    return len(ours) == len(theirs)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is at stake."""

    bytes: int
    seconds: float
    pending: int


def _shorter_age(change: Difference, kept: Kept) -> str:
    limit = change.wanted / 1e9
    if limit and kept.seconds > limit:
        return f"messages older than {duration(change.wanted)} are deleted at once"
    return ""


def _fewer_bytes(change: Difference, kept: Kept) -> str:
    if 0 <= change.wanted < kept.bytes:
        return f"the stream keeps {kept.bytes} bytes already and would store nothing more"
    return ""


def _fewer_per_subject(change: Difference, kept: Kept) -> str:
    if change.wanted == 1 and kept.bytes:
        return "of several messages on one subject all but the last are deleted at once"
    return "a repeated message would be stored again" if change.wanted != 1 else ""


def _narrower_filter(change: Difference, kept: Kept) -> str:
    left = _uncovered(change)
    if left and kept.pending:
        return (
            f"{kept.pending} messages are pending, and those on {', '.join(left)} "
            "would never be handled"
        )
    return ""


def _narrower_subjects(change: Difference, _: Kept) -> str:
    left = _uncovered(change)
    return f"nothing would be stored on {', '.join(left)} any more" if left else ""


def _uncovered(change: Difference) -> list[str]:
    return [s for s in change.found if not any(covers(w, s) for w in change.wanted)]


def _retention(change: Difference, _: Kept) -> str:
    return f"retention decides what is deleted, {change.found} otherwise than {change.wanted}"


def _storage(change: Difference, _: Kept) -> str:
    return "the broker refuses it: only a new stream can have another storage"


def _fewer_copies(change: Difference, _: Kept) -> str:
    if change.wanted < change.found:
        return f"{change.found - change.wanted} copies of every message are deleted"
    return ""


DANGERS: Mapping[str, Callable[[Difference, Kept], str]] = {
    "retention": _retention,
    "storage": _storage,
    "subjects": _narrower_subjects,
    "max_age": _shorter_age,
    "max_bytes": _fewer_bytes,
    "max_msgs_per_subject": _fewer_per_subject,
    "num_replicas": _fewer_copies,
    "filter_subjects": _narrower_filter,
}


def _same(wanted: Any, found: Any) -> bool:
    match wanted, found:
        case list(), list():
            return sorted(wanted) == sorted(found)
        case {"src": _}, _:
            return bool(wanted == found)
        case dict(), dict():
            return wanted.items() <= found.items()
    return bool(wanted == found) or (wanted in LEFT_OUT and found in LEFT_OUT)


def _default(wanted: Any) -> Any:
    return type(wanted)() if isinstance(wanted, bool | list | dict) else None
