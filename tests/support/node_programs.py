"""The example programs in JavaScript, with their packages, in a folder outside the checkout."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = "proto/contracts.binpb"
INSTALLED_WITHIN = 300
"""Seconds: a slow network and a slow disk."""


def missing():
    """Say what is not there, or nothing."""
    return " and ".join(name for name in ("node", "npm") if shutil.which(name) is None)


def install(example, folder):
    """Copy an example into the folder, where it lies as in the repository; return its place."""
    installed = folder / example
    ignored = shutil.ignore_patterns("node_modules", "dist", "gen")
    shutil.copytree(ROOT / example, installed, ignore=ignored)
    (folder / "proto").mkdir()
    shutil.copy(ROOT / CONTRACTS, folder / CONTRACTS)
    subprocess.run(["npm", "ci", "--silent"], cwd=installed, check=True, timeout=INSTALLED_WITHIN)
    return installed
