"""Both Helms, against an API server: install, upgrade, rollback, test, uninstall."""

import base64
import json

import pytest
from api_server import ApiServer
from helm import SYSTEM, Operator, Refused
from kubelet import Paper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=[3, 4], scope="module")
def cluster(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with ApiServer(folder) as api, Paper(api, folder):
        yield Cluster(request.param, api)


class Cluster(Operator):
    def __init__(self, version, api):
        super().__init__(version, api)
        self.helm("install", "seaway", SYSTEM, "--wait", "--timeout", "300s")

    def get(self, plural, name):
        return self.api.objects.get(plural, "default", name)

    def passwords(self):
        found, _ = self.api.objects.all("secrets", "default")
        return {
            one["metadata"]["name"]: base64.b64decode(one["data"]["password"]).decode()
            for one in found
            if "password" in one["data"]
        }

    def image(self):
        pod = self.get("deployments", "seaway-crm")["spec"]["template"]["spec"]
        return pod["containers"][0]["image"]


def test_what_is_installed_can_be_changed_taken_back_tested_and_removed(cluster):
    drawn = cluster.passwords()
    assert len(drawn) == 9
    assert len(set(drawn.values())) == 9
    assert cluster.image() == "seaway/crm:dev"
    upgrade = ("upgrade", "seaway", SYSTEM, "--wait", "--timeout", "300s", "--reuse-values")
    cluster.helm(*upgrade, "--set", "global.imageTag=1.2.4,crm.env.SEAWAY_LOG_LEVEL=debug")
    assert cluster.image() == "seaway/crm:1.2.4"
    container = cluster.get("deployments", "seaway-crm")["spec"]["template"]["spec"]["containers"][
        0
    ]
    told = {variable["name"]: variable["value"] for variable in container["env"]}
    assert told["SEAWAY_LOG_LEVEL"] == "debug"
    assert told["SEAWAY_PRODUCTION"] == "false"
    assert cluster.passwords() == drawn
    cluster.helm("rollback", "seaway", "1", "--wait", "--timeout", "300s")
    assert cluster.image() == "seaway/crm:dev"
    assert cluster.passwords() == drawn
    assert "Succeeded" in cluster.helm("test", "seaway", "--timeout", "300s")
    refused(cluster)
    a_password_is_drawn_anew(cluster, drawn)
    cluster.helm("uninstall", "seaway")
    assert cluster.get("deployments", "seaway-crm") is None
    # What was promised to people stays.
    kept, _ = cluster.api.objects.all("persistentvolumeclaims")
    assert {one["metadata"]["name"] for one in kept} == {
        f"seaway-{name}" for name in ("crm", "data-warehouse", "user-creation", "welcome-email")
    }


def refused(cluster):
    """What would lose the streams, and what no API server takes: nothing of it is changed."""
    upgrade = ("upgrade", "seaway", SYSTEM, "--reuse-values")
    with pytest.raises(Refused, match=r"global\.brokers goes from 1 to 3, and a cluster does not"):
        cluster.helm(*upgrade, "--set", "global.brokers=3")
    typo = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "datum": {}}
    more = ("--set-json", f"crm.extraManifests=[{json.dumps(typo)}]")
    with pytest.raises(Refused, match="datum"):
        cluster.helm(*upgrade, *more)


def a_password_is_drawn_anew(cluster, drawn):
    """As the handbook says that a password is rotated."""
    cluster.api.objects.delete("secrets", "default", "seaway-nats-crm")
    cluster.helm("upgrade", "seaway", SYSTEM, "--reset-values")
    now = cluster.passwords()
    assert {name for name in drawn if now[name] != drawn[name]} == {"seaway-nats-crm"}
    allowed = cluster.get("secrets", "seaway-nats-authorization")["data"]["authorization.conf"]
    assert now["seaway-nats-crm"] in base64.b64decode(allowed).decode()
