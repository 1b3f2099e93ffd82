"""The quickstart, installed by Helm and run: a real broker, every service, people who sign up."""

import asyncio
import base64
import os
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from urllib.request import urlopen

import grpc
import pytest
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from api_server import ApiServer
from development import seaway
from gateway.client import CONNECT_AGAIN
from helm import SERVICES, SYSTEM, run
from kubelet import Node
from processes import free_ports
from sign_ups import Load, a_request, errors_of
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROLLS = 10 if os.environ.get("SEAWAY_CHAOS") else 2
"""How often all pods are replaced; the last time by a rollback."""
ASK = partial(a_request, reveal_taken=False)


class Installed:
    """A release `seaway`, as `helm install` with no other flag makes it."""

    def __init__(self, api, node):
        self.api = api
        self.node = node

    async def helm(self, *arguments):
        told = (*arguments, "--kubeconfig", self.api.kubeconfig, "--timeout", "300s")
        try:
            return await asyncio.to_thread(run, 4, *map(str, told))
        finally:
            assert self.node.failed == []

    def seaway(self, *arguments):
        """A command, as the operator whose Secret the release has made."""
        secret = self.api.objects.get("secrets", "default", "seaway-nats-operator")
        url = base64.b64decode(secret["data"]["nats_url"]).decode()
        return seaway(*arguments, within=180.0, SEAWAY_NATS_URL=self.node.here(url, {}, ""))

    def audit(self):
        asked = []
        for name in SERVICES:
            if name != "gateway":
                where = self.node.pods_of(f"seaway-{name}")[0].address
                asked += ["--service", f"{name}=http://{where}:9090"]
        return self.seaway("audit", "--settled-within", "120", *asked)


class Gateways:
    """The Service of the gateways: each call goes to one that serves now, each in its turn."""

    def __init__(self, node):
        self._node = node
        self._turn = count()
        self.channels = {}

    def SignUp(self, request, timeout):  # noqa: N802 - as the stub calls it
        serving = [pod for pod in self._node.pods_of("seaway-gateway") if pod.serves]
        address = serving[next(self._turn) % len(serving)].address
        if address not in self.channels:
            self.channels[address] = grpc.aio.insecure_channel(f"{address}:50051", CONNECT_AGAIN)
        return SignUpServiceStub(self.channels[address]).SignUp(request, timeout=timeout)


@asynccontextmanager
async def gateways(node):
    behind = Gateways(node)
    yield behind
    for channel in behind.channels.values():
        await channel.close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    [crm] = free_ports(1)
    with (
        ApiServer(folder) as api,
        Node(api, folder, SEAWAY_CRM_PORT=str(crm), SEAWAY_SIGN_UPS_PER_MINUTE="0") as node,
    ):
        release = Installed(api, node)
        asyncio.run(release.helm("install", "seaway", SYSTEM, "--wait"))
        yield release


async def test_it_is_installed_tested_rolled_and_removed_and_nothing_is_lost(installed, capsys):
    node = installed.node
    assert "Succeeded" in await installed.helm("test", "seaway")
    assert "STATE_CONFIRMED" in node.tests_said
    history = []
    async with gateways(node) as behind, Load([behind], history, 5.0, ASK) as load:
        await load.begun(10)
        for number in range(ROLLS - 1):
            values = [f"{name}.podAnnotations.roll=r{number}" for name in SERVICES]
            told = ("--reuse-values", "--wait", "--set", ",".join(values))
            await installed.helm("upgrade", "seaway", SYSTEM, *told)
        await installed.helm("rollback", "seaway", "1", "--wait")
        await load.begun(len(history) + 10)
    assert sorted(set(node.rolled)) == [f"seaway-{name}" for name in SERVICES]
    assert len(node.rolled) == ROLLS * len(SERVICES)
    assert [one for one in history if not one.ended] == []
    with capsys.disabled():
        print(f"\n{len(history)} signed up in {ROLLS} rolls; asked again: {errors_of(history)}")
    await asyncio.to_thread(accounted, installed, len(history) + 1)
    assert node.crashed == []
    await asyncio.to_thread(scraped, installed)
    await installed.helm("uninstall", "seaway")
    await until(lambda: not node.pods, 120.0)
    assert node.killed == []


def accounted(installed, many):
    audited = installed.audit()
    assert audited.returncode == 0, audited.stdout + audited.stderr
    counts = f"accepted {many:,}  outcomes {many:,}  dead letters 0  pending 0  unaccounted 0"
    assert counts in audited.stdout.splitlines()


def scraped(installed):
    for name in (*SERVICES, "monitor"):
        for pod in installed.node.pods_of(f"seaway-{name}"):
            with urlopen(f"http://{pod.address}:9090/metrics", timeout=10) as answer:
                assert b"seaway_build_info{" in answer.read()
