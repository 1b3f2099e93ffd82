"""What a log line says of an error, and what it does not."""

import subprocess
import sys

import pytest

FAIL = """
import sys, structlog
from seaway.telemetry import configure_logging

def handle(email):
    raise ValueError("no more than this")

configure_logging("crm", "info", sys.argv[1])
try:
    handle("".join(["ada", "@", "example.org"]))
except ValueError:
    structlog.get_logger().warning("not handled", exc_info=True)
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variable_since_it_may_be_personal(form):
    run = subprocess.run(
        [sys.executable, "-c", FAIL, form], capture_output=True, text=True, check=True
    )
    assert "ValueError: no more than this" in run.stdout
    assert "ada@" not in run.stdout
