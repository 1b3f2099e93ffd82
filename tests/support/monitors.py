"""The monitor as a process, and what it exports."""

import asyncio
import re

from processes import Program
from waiting import until


class Watching(Program):
    """The monitor, and what it exports."""

    def value(self, name, **labels):
        """What it exports now; None if it is not there."""
        _, body = self.asked("/metrics")
        told = ",".join(f'{label}="{value}"' for label, value in labels.items())
        series = f"{name}{{{told}}}" if told else name
        found = re.search(rf"^{re.escape(series)} (\S+)$", body, re.MULTILINE)
        return float(found[1]) if found else None

    async def exports(self, holds, name, within=90.0, **labels):
        """Wait until a value is there and as it should be."""

        def look():
            value = self.value(name, **labels)
            return value is not None and holds(value)

        try:
            await until(lambda: asyncio.to_thread(look), within, every=0.1)
        except TimeoutError:
            now = await asyncio.to_thread(self.value, name, **labels)
            raise AssertionError(f"{name} {labels} is {now}:\n{self.text()}") from None


def equals(wanted):
    return lambda value: value == wanted
