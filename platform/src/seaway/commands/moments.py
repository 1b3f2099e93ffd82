"""Moments, as people type them."""

import re
from datetime import UTC, datetime, timedelta

import typer

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment_of(text: str, now: datetime | None = None) -> datetime:
    """Return the moment that `90s`, `30m`, `2h`, `7d` (ago) or an ISO 8601 time says.

    A time without a zone is one of the clock on the wall. Raises BadParameter, which is wrong
    usage, also for the future.
    """
    now = now or datetime.now(UTC)
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither like 30m, 2h, 7d nor a time") from None
    if moment > now:
        raise typer.BadParameter(f"{text!r} lies in the future")
    return moment
