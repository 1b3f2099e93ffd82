"""Durations as PromQL writes them, and as a test shrinks them."""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


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


def as_written(seconds: float) -> str:
    """Return a whole number of seconds in the largest unit that it fills: 5m, 2h, 3d."""
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
