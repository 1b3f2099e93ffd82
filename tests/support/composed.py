"""compose.yaml as it stands, on ports that are free."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from urllib.request import urlopen

import docker
from containers import COMPOSE
from development import seaway
from locks import ROOT
from testcontainers.compose import DockerCompose

PUBLISHED = {"nats": 4222, "gateway": 50051, "prometheus": 9090, "postgres": 5432}
"""What a test asks, beside the metrics port of each service."""
METRICS = 9090
AUDITED = ("gateway", "user-creation", "welcome-email", "data-warehouse", "crm")
OURS = (*AUDITED, "monitor")
READY_WITHIN = 120.0


class Composed:
    """All services of compose.yaml, until the context ends; their volumes end with it."""

    def __init__(self, folder):
        self.folder = folder
        elsewhere = folder / "ports.yaml"
        elsewhere.write_text("services:\n" + "".join(map(_on_a_free_port, COMPOSE["services"])))
        self._compose = DockerCompose(
            ROOT,
            ["compose.yaml", str(elsewhere)],
            wait=False,  # what is ready, /readyz knows
            docker_command_path=os.environ.get("DOCKER", "docker"),
        )
        shutil.copy(ROOT / "seaway.toml", folder)
        self.engine = docker.from_env()
        self.ready_after = {}
        """Of each of ours, the seconds of a processor, and of a clock, until it was ready."""

    def __enter__(self):
        try:
            self._compose.start()
            self._wait_for_all()
        except subprocess.CalledProcessError as refused:
            self._compose.stop()
            raise RuntimeError(refused.stderr.decode()) from None
        except BaseException:
            self._compose.stop()
            raise
        return self

    def __exit__(self, *_):
        self._compose.stop()
        self.engine.close()

    def container(self, name):
        """A running service, as the engine knows it."""
        return self.engine.containers.get(self._compose.get_container(name).ID)

    def address(self, name, port):
        """Where a port of a service is here: HOST:PORT."""
        return f"127.0.0.1:{self._compose.get_service_port(name, port)}"

    def asked(self, name, path):
        """What a service answers on its metrics port."""
        with urlopen(f"http://{self.address(name, METRICS)}{path}", timeout=5) as answer:
            return answer.read().decode()

    def seaway(self, *arguments, within=120):
        """Run the command `seaway` against it, as somebody on this machine would."""
        told = {"SEAWAY_NATS_URL": f"nats://{self.address('nats', 4222)}"}
        return seaway(*arguments, folder=self.folder, within=within, **told)

    def log(self, name):
        """All that a service has printed."""
        return self.container(name).logs().decode()

    def _wait_for_all(self):
        until = time.monotonic() + READY_WITHIN
        while waiting := [name for name in OURS if name not in self.ready_after]:
            for name in filter(self._is_ready, waiting):
                self.ready_after[name] = self._seconds_since_start(name)
            if time.monotonic() > until:
                raise TimeoutError("not ready:\n" + "\n".join(map(self.log, waiting)))
            time.sleep(0.05)

    def _is_ready(self, name):
        try:
            self.asked(name, "/readyz")
        except OSError:
            return False
        return True

    def _seconds_since_start(self, name):
        container = self.container(name)
        used = container.stats(stream=False, one_shot=True)["cpu_stats"]["cpu_usage"]
        began = datetime.fromisoformat(container.attrs["State"]["StartedAt"][:19] + "+00:00")
        return used["total_usage"] / 1e9, (datetime.now(UTC) - began).total_seconds()


def _on_a_free_port(name):
    """What says of a service that it is on ports of this machine that are free."""
    if "network_mode" in COMPOSE["services"][name]:
        return ""
    ports = {PUBLISHED.get(name, METRICS), METRICS} if name in OURS else {PUBLISHED.get(name)}
    wanted = [f"127.0.0.1::{port}" for port in sorted(ports - {None})]
    return f"  {name}: {{ports: !override {json.dumps(wanted)}}}\n"
