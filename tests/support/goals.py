"""Figures of the plan that a run has measured, told at its end, and the seed that repeats it.

A plugin: where several processes test at once, the first one tells what all of them measured.
"""

import os
import random
from dataclasses import dataclass

import pytest

SIZE = os.environ.get("SEAWAY_CHAOS", "smoke")
SEED = int(os.environ.setdefault("SEAWAY_SEED", str(random.randrange(1_000_000))))
MEASURED = pytest.StashKey[list]()


@dataclass(frozen=True)
class Goal:
    """A figure of the plan, and what this run made of it."""

    id: str
    value: float
    target: str
    hits: int
    of: str
    """Which test, of which kind and size."""
    met: bool

    def __str__(self):
        figures = f"value={self.value:g} target={self.target} hits={self.hits}"
        return f"GOAL {self.id} {figures} ({self.of}){'' if self.met else ' MISSED'}"


def pytest_configure(config):
    config.stash[MEASURED] = []


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["goals"] = session.config.stash[MEASURED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[MEASURED] += getattr(node, "workeroutput", {}).get("goals", [])


def pytest_terminal_summary(terminalreporter, config):
    if measured := config.stash[MEASURED]:
        terminalreporter.section(f"goals (seed {SEED}, {SIZE})")
        for goal in sorted(measured):
            terminalreporter.write_line(goal)
        if SIZE != "smoke" and any(goal.endswith("MISSED") for goal in measured):
            again = "make chaos ARGS=tests/chaos/test_….py"
            terminalreporter.write_line(f"MISSED beside another test: measure it alone, {again}")
