"""Where a process can be made to die, and who refuses to be."""

import ast
import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from seaway import failpoints
from seaway.errors import SettingsError
from seaway.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCES = [p for member in ("platform", "services") for p in (ROOT / member).rglob("src/**/*.py")]
LATE = """
import asyncio
from seaway.failpoints import arm, crash_here, crash_once_sent
arm("U5:2")
async def main():
    loop = asyncio.get_running_loop()
    await crash_once_sent("U5")
    print("once", flush=True)
    loop.call_soon(lambda: print("sent", flush=True))
    await crash_once_sent("U5")
    print("never", flush=True)
crash_here("U3")
asyncio.run(main())
"""


def named_in(*functions):
    """What these are called with, as often as the code has it."""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))]
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    firsts = [call.args[0] for call in calls if call.func.id in functions]
    return Counter(first.value for first in firsts if isinstance(first, ast.Constant))


def service(module, *arguments, **settings):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SEAWAY_")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=ours | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_every_point_is_at_one_place_in_the_code():
    platform = {point: 1 for point in failpoints.POINTS if point[0] in "GU"}
    declared = named_in("declare") | Counter(platform)
    assert named_in("crash_here", "crash_once_sent") == declared


def test_a_process_dies_there_without_clean_up_and_says_so():
    ended = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == failpoints.KILLED == 137
    assert (ended.stdout, ended.stderr) == ("once\nsent\n", "crashed at U5\n")


@pytest.mark.parametrize(
    ("text", "point", "left"),
    [("", "", 1), ("U3", "U3", 1), ("G4:2", "G4", 2), ("U1:10", "U1", 10)],
)
def test_a_point_and_which_time_it_comes_by(text, point, left):
    assert failpoints.CrashAt.parse(text) == failpoints.CrashAt(point, left)


MALFORMED = ["U9", "U3:x", "U3:0", "U3:-1", "U3:", ":2", "U3:²", "u3", " U3"]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_point_that_is_none_is_refused_with_what_was_said(text, monkeypatch):
    monkeypatch.setenv("SEAWAY_CRASH_AT", text)
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment()
    assert str(refused.value).startswith(f"SEAWAY_CRASH_AT: {text!r}")


def test_a_service_may_have_points_of_its_own(monkeypatch):
    monkeypatch.setattr(failpoints, "POINTS", dict(failpoints.POINTS))
    failpoints.declare("E2", "reserved, not yet called")
    assert failpoints.CrashAt.parse("E2").point == "E2"


@pytest.mark.parametrize("module", ["user_creation", "gateway"])
@pytest.mark.parametrize("arguments", [[], ["prepare"]], ids=["run", "prepare"])
def test_a_production_image_refuses_to_be_killed(module, arguments):
    settings = {"SEAWAY_CRASH_AT": "U3", "SEAWAY_PRODUCTION": "true"}
    refused = service(module, *arguments, **settings)
    assert refused.returncode == 78
    assert refused.stderr == (
        f"{module.replace('_', '-')}: "
        "SEAWAY_CRASH_AT: 'U3' is for tests, and SEAWAY_PRODUCTION is set\n"
    )


def test_a_process_does_not_start_with_a_point_that_is_none():
    refused = service("user_creation", SEAWAY_CRASH_AT="U3:x")
    assert refused.returncode == 78
    assert refused.stderr.startswith("user-creation: SEAWAY_CRASH_AT: 'U3:x'")


def test_in_production_without_a_point_there_is_nothing_to_refuse(monkeypatch):
    monkeypatch.setenv("SEAWAY_PRODUCTION", "true")
    monkeypatch.setenv("SEAWAY_CRASH_AT", "")
    assert Settings.from_environment().production


async def test_nobody_waits_at_a_point_that_is_not_armed():
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(failpoints.crash_once_sent("U5") for _ in range(100)))
    assert asyncio.get_running_loop().time() - begun < failpoints.SENT_WITHIN
