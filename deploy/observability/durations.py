"""Durations as PromQL writes them, and as a test shrinks them."""

import re

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": 1.0}
WRITTEN = re.compile(r"(?P<window>\[)?(?<![\w.])(?P<count>\d+)(?P<unit>[dhms])\b")


class Clock:
    """Says how long something lasts. A test that cannot wait an hour lets it run faster."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale

    def seconds(self, seconds: float) -> str:
        """Return a number of seconds, to compare with."""
        return f"{seconds * self._scale:g}"

    def lasting(self, seconds: float) -> str:
        """Return a duration: of a window, or of `for`."""
        scaled = seconds * self._scale
        return as_written(scaled) if scaled == int(scaled) else f"{round(scaled * 1000)}ms"

    def expression(self, text: str) -> str:
        """Return PromQL with its windows ([10m]) and its comparisons (> 5m) as they last here.

        The latter become seconds: a Prometheus before version 3 compares with nothing else.
        """
        return WRITTEN.sub(self._as_it_lasts, text)

    def _as_it_lasts(self, found: re.Match[str]) -> str:
        seconds = int(found["count"]) * UNITS[found["unit"]]
        return f"[{self.lasting(seconds)}" if found["window"] else self.seconds(seconds)


def as_written(seconds: float) -> str:
    """Return a whole number of seconds in the largest unit that it fills: 5m, 2h, 3d."""
    for unit, length in UNITS.items():
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
