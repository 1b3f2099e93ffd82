"""What a lock holds, and what a member of the workspace needs, read without any index."""

import re
import subprocess
import tomllib
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = WORKSPACE["tool"]["uv"]["workspace"]["members"]
PROJECTS = {
    project["name"]: project
    for member in MEMBERS
    for project in [tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]]
}
DEPLOYED = ["platform", *(member for member in MEMBERS if member.startswith("services/"))]
"""Each of these is an image."""


def packages_of(lock):
    """Name → the requirement and its hashes, of what a lock holds for any system."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    found = {}
    for entry in entries:
        pinned, *hashes = [line.strip(" \\") for line in entry.splitlines()]
        requirement = Requirement(pinned)
        found[canonicalize_name(requirement.name)] = (requirement, frozenset(hashes))
    assert len(found) == len(entries)
    return found


def installed_by(lock):
    """The names that a lock installs on this system."""
    packages = packages_of(lock)
    return {name for name, (wanted, _) in packages.items() if applies(wanted, "")}


def needed_by(requirements):
    """The names of all that these requirements bring with them here, our own members left out."""
    seen, waiting = set(), [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra_of_parent = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if applies(wanted, extra_of_parent) and (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(child, extra) for child in brought_by(name, extra)]
    return {name for name, _ in seen} - PROJECTS.keys()


def brought_by(name, extra):
    """What a distribution requires itself; of a member, what its file says now."""
    if project := PROJECTS.get(name):
        optional = project.get("optional-dependencies", {})
        return [
            Requirement(text) for text in (optional[extra] if extra else project["dependencies"])
        ]
    return [Requirement(text) for text in metadata.requires(name) or ()]


def applies(wanted, extra):
    """Whether a requirement counts on this system, for who asked for this extra."""
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def environment_of(lock, members, folder):
    """Make a virtual environment of what a lock names, as it is installed here, and members.

    Return its Python. Nothing is fetched: the files are links to those of this environment.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    for name in installed_by(lock) | members:
        installed = metadata.distribution(name)
        for part in {
            own_part(installed, file) for file in installed.files if ".." not in file.parts
        }:
            (packages / part).parent.mkdir(parents=True, exist_ok=True)
            (packages / part).symlink_to(installed.locate_file(part))
    return python


def own_part(installed, file):
    """The largest folder around a file that is of this distribution alone; or the file."""
    for folder in reversed(file.parents[:-1]):
        if folder.suffix == ".dist-info" or installed.locate_file(folder / "__init__.py").exists():
            return folder
    return file
