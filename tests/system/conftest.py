"""What the tests of whole systems share."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from development import Development

OURS = Path(__file__).parents[2] / "seaway.toml"


@pytest.fixture
def develop(tmp_path):
    """Start `seaway dev` in the test's folder, as often as wanted; all are ended with the test."""
    started = []

    def start(*options, folder=tmp_path, **more):
        started.append(Development(folder, *options, **more))
        return started[-1]

    yield start
    for development in started:
        development.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """`seaway dev` with all our services, one for all tests of a file."""
    folder = tmp_path_factory.mktemp("system")
    shutil.copy(OURS, folder)
    with closing(Development(folder)) as development:
        yield development.up()
