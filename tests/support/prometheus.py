"""A real Prometheus, Debian's, that scrapes processes on this machine."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from processes import free_ports
from waiting import until

START_WITHIN = 60.0


@dataclass(frozen=True)
class Prometheus:
    port: int

    def ask(self, expression):
        """What a query returns now: a label set and a value for each series."""
        question = urlencode({"query": expression})
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{question}", timeout=20) as told:
            return [(s["metric"], s["value"][1]) for s in json.load(told)["data"]["result"]]

    def firing(self):
        """The alerts that fire now, each with its labels but the severity."""
        return {
            (labels["alertname"], labels.get("durable") or labels.get("service") or "")
            for labels, _ in self.ask('ALERTS{alertstate="firing"}')
        }

    def is_ready(self):
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2):
                return True
        except (URLError, OSError):
            return False


@asynccontextmanager
async def prometheus(folder, rules, ports, every="500ms"):
    """Scrape these ports, and look at these rules, twice a second."""
    folder.mkdir()
    for name, text in rules.items():
        (folder / name).write_text(text)
    targets = [f"127.0.0.1:{port}" for port in ports]
    config = {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every,
            "evaluation_interval": every,
        },
        "rule_files": [str(folder / name) for name in rules],
        "scrape_configs": [{"job_name": "seaway", "static_configs": [{"targets": targets}]}],
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    server = Prometheus(*free_ports(1))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{server.port}",
            "--enable-feature=exemplar-storage",
            stdout=log,
            stderr=log,
        )
    try:
        await until(lambda: asyncio.to_thread(server.is_ready), START_WITHIN, every=0.1)
        yield server
    finally:
        process.kill()
        await process.wait()
