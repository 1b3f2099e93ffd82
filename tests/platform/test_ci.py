"""In CI nothing is skipped silently."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SKIPPING_TEST = "import pytest\n\ndef test_it():\n    pytest.skip('no server')\n"
SKIPPING_FILE = "import pytest\n\npytest.skip('no server', allow_module_level=True)\n"
XFAIL = "import pytest\n\n@pytest.mark.xfail\ndef test_it():\n    assert False\n"


def run_pytest(folder, text, **environment):
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "test_it.py").write_text(text)
    ours = ("CI", "COVERAGE_PROCESS_CONFIG")  # nothing of the platform is reached
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, folder),
            *("-p", "no:cloudcoil"),  # a plugin that lacks what it needs, as in pyproject.toml
        ],
        env=clean | {"PYTHONPATH": str(TESTS / "support")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("text", [SKIPPING_TEST, SKIPPING_FILE])
def test_a_skipped_test_fails_in_ci(tmp_path, text):
    answer = run_pytest(tmp_path, text, CI="true")
    assert answer.returncode not in (0, 5)
    assert "in CI that is a failure" in answer.stdout
    assert "no server" in answer.stdout


@pytest.mark.parametrize("text", [SKIPPING_TEST, SKIPPING_FILE])
def test_elsewhere_it_is_skipped(tmp_path, text):
    assert "1 skipped" in run_pytest(tmp_path, text).stdout


def test_a_failure_that_is_expected_is_no_skip(tmp_path):
    assert "1 xfailed" in run_pytest(tmp_path, XFAIL, CI="true").stdout
