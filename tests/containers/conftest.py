"""The whole of compose.yaml, started once for all tests of this room."""

import os

import pytest
from composed import Composed


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_PROJECT_NAME", f"seaway-test-{os.getpid()}")
        with Composed(tmp_path_factory.mktemp("compose")) as composed:
            yield composed
