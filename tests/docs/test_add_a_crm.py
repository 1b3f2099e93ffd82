"""What docs/add-a-crm.md says is so."""

import re
from pathlib import Path

from crm.hubspot import PROPERTIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/add-a-crm.md").read_text()


def test_the_port_is_what_the_page_says():
    [block] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block in (ROOT / "services/crm/src/crm/service.py").read_text()


def test_every_property_that_has_to_be_made_is_named():
    named = re.findall(r"`(seaway_\w+)`", PAGE)
    assert set(named) == {name for name in PROPERTIES if name.startswith("seaway_")}
