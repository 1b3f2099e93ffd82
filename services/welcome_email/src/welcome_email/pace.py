"""As slow as the mail server, even where no mail is sent."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Knows how long the last mail took, so that one that is not sent takes as long.

    When a sign-up says EMAILED would tell otherwise whose address was taken.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Measure what is done in this context, if it ends well."""
        begun = time.monotonic()
        yield
        self._seconds = time.monotonic() - begun

    async def keep(self) -> None:
        """Take as long as what was measured last."""
        await asyncio.sleep(self._seconds)
