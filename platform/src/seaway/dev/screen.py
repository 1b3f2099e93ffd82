"""What `seaway dev` shows: its children's lines, each with its name and colour, and its own."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

COLOURS = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")
OURS = "seaway"


@dataclass(slots=True)
class Screen:
    """Writes lines, and nothing more once nobody reads them."""

    names: Iterable[str]
    out: TextIO = field(default_factory=lambda: sys.stdout)
    styles: dict[str, str] = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        """Give each name a colour of its own, and all of them one width."""
        names = list(self.names)
        self.styles = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(names)} | {OURS: "1"}
        self.width = max(map(len, [*names, OURS]))

    def line(self, name: str, text: str) -> None:
        """Show one line of a child."""
        self._write(f"{self._styled(self.styles.get(name, '0'), name.ljust(self.width))} | {text}")

    def say(self, text: str) -> None:
        """Show one line of our own."""
        self.line(OURS, text)

    def block(self, lines: Iterable[str]) -> None:
        """Show lines that stand for themselves."""
        for text in lines:
            self._write(text)

    def _styled(self, style: str, text: str) -> str:
        if self.out.isatty() and "NO_COLOR" not in os.environ:
            return f"\x1b[{style}m{text}\x1b[0m"
        return text

    def _write(self, text: str) -> None:
        try:
            self.out.write(text + "\n")
            self.out.flush()
        except OSError:
            # `seaway dev | head` ended, or the terminal is gone: nobody reads this any more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())
