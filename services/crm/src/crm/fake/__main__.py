"""python -m crm.fake."""

import asyncio
import signal
import sys
from pathlib import Path

from pydantic import Field
from seaway.settings import Settings

from crm.fake.server import FakeCrm, serving
from crm.settings import FAKE_TOKEN


class FakeCrmSettings(Settings):
    """Where it is, and where it keeps its contacts."""

    crm_port: int = Field(8081, ge=0, le=65535, description="where it is")
    fake_crm_file: Path = Field(Path(".seaway/fake-crm.jsonl"), description="its contacts")


async def run(settings: FakeCrmSettings) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    fake = FakeCrm(FAKE_TOKEN, settings.fake_crm_file)
    async with serving(fake, settings.crm_port):
        sys.stdout.write(f"contacts: {fake.url}\n")
        await stopping.wait()


if __name__ == "__main__":
    # `--prepare`: there is nothing to prepare. `topology show`: it listens to nothing.
    if "topology" not in sys.argv:
        asyncio.run(run(FakeCrmSettings.from_environment()))
