"""The process: what it refuses to start with, and what it does not need."""

import asyncio
import json
import os
import sys

import pytest
from seaway.dev.health import ask_health
from seaway.testing import ServiceProcess, nats_server
from waiting import until

WITHOUT_ALEMBIC = """
import runpy, sys
sys.modules["alembic"] = None
runpy.run_module("user_creation", run_name="__main__")
"""


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


async def test_once_its_schema_is_there_it_runs_without_alembic(database_url, tmp_path):
    async with nats_server() as broker:
        told = {"SEAWAY_NATS_URL": broker.url, "SEAWAY_DATABASE_URL": database_url}
        await ServiceProcess(["python", "-m", "user_creation"], told, tmp_path).call("prepare")
        process = ServiceProcess(["python", "-c", WITHOUT_ALEMBIC], told, tmp_path)
        # To prepare what is prepared needs none either.
        await process.start("--prepare")
        try:
            await until(lambda: is_ready(process), within=60)
        finally:
            await process.stop()
        assert await process.exit_code(1) == 0, process.said


async def is_ready(process):
    assert not process.ended, process.said
    for line in process.said.splitlines():
        if '"started"' in line:
            return (await ask_health(json.loads(line)["metrics_port"], "/readyz"))[0] == 200
    return False
