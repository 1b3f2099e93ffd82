"""A listener's `service.py` is its story: short enough to be read aloud."""

from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
LONGEST = 60


@pytest.mark.parametrize("name", ["welcome_email", "data_warehouse", "crm"])
def test_a_listeners_story_is_short(name):
    story = SERVICES / name / "src" / name / "service.py"
    assert len(story.read_text().splitlines()) <= LONGEST
