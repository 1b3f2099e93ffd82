"""The CRM service, killed at every point of a message's life: one contact for each user."""

import os

import pytest
from acme.users.v1 import UserAddedToCrm
from crm import calling  # noqa: F401 - declares C1 to C3
from seaway.testing import crash_points, killed_at

FOUR = ("C1", "C2", "C3", "U4")
"""The fourth, recorded and not acked, is the platform's."""
POINTS = (*FOUR, "U1", "U2", "U3", "U5") if os.environ.get("SEAWAY_CHAOS") == "full" else FOUR
CALLED_AGAIN = {"C2", "C3", "U2"}
"""The CRM has them, and nobody knows."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("crash", crash_points(*POINTS), ids=str)
async def test_every_user_is_one_contact(crash, tmp_path, fake, database_url, confirmed):
    settings = {"SEAWAY_DATABASE_URL": database_url, "SEAWAY_CRM_PORT": str(fake.port)}
    users = [confirmed() for _ in range(3)]
    async with killed_at(crash, ["python", "-m", "crm"], settings) as system:
        await system.send(*users)
        added = [m for m in await system.published() if isinstance(m, UserAddedToCrm)]
        assert await system.dead_letters() == []
    assert sorted(m.user_id for m in added) == sorted(user.user_id for user in users)
    assert sorted(fake.contacts) == sorted(user.email for user in users)
    assert fake.calls["created"] == 3
    assert (fake.calls["upserted"] > 3) == (crash.point in CALLED_AGAIN)
