"""What the tests of whole systems share."""

import pytest
from development import Development


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
