"""The process: what it refuses to start with."""

import asyncio
import os
import sys

import pytest
from seaway.testing import nats_server


@pytest.mark.parametrize("command", [["prepare"], []], ids=["prepare", "run"])
async def test_a_database_that_could_lose_a_commit_is_refused(command, postgresql):
    url = postgresql.new_database()
    postgresql.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    async with nats_server() as broker:
        told = {
            "SEAWAY_NATS_URL": broker.url,
            "SEAWAY_DATABASE_URL": url,
            "SEAWAY_METRICS_PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "user_creation", *command),
            env=os.environ | told,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    assert process.returncode == 78
    last = said.decode().splitlines()[-1]
    assert last == "user-creation: PostgreSQL has synchronous_commit = off: it could lose a commit"
