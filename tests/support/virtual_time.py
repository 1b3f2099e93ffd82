"""An event loop whose clock jumps to whatever is due next: an hour passes in a millisecond."""

import asyncio
import selectors

MOST_TURNS = 100_000
"""Without any time passing: then somebody goes round in a circle, and would for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic: what runs on it neither sleeps nor depends on the machine's clock."""

    def __init__(self):
        self.now = 0.0
        super().__init__(_Impatient(self))

    def time(self):
        return self.now

    def turn(self, times=1):
        """Let everything that is ready run so many times; no time passes."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def pass_time(self, seconds):
        """Let everything run until so many seconds have passed."""
        self.run_until_complete(asyncio.sleep(seconds))

    def close(self):
        """Cancel what still runs, and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks))
        super().close()


class _Impatient(selectors.SelectSelector):
    """Does not wait: it says that the time is over."""

    def __init__(self, loop):
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > MOST_TURNS:
            raise RuntimeError("everybody runs and no time passes")
        self._loop.now += max(timeout, 0)
        return super().select(0)
