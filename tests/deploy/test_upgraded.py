"""From the chart's previous release to this one: it is taken, and nothing that holds data goes.

`previous/` has that release as it was packed. There was none before this one: it is the first
umbrella that could be installed.
"""

import tarfile
from pathlib import Path

import pytest
import yaml
from api_server import ApiServer, changed
from helm import PROFILES, SYSTEM, Operator, Refused, objects_in, run
from kubelet import Paper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

[PREVIOUS] = (Path(__file__).parent / "previous").glob("seaway-*.tgz")
HOLD_DATA = ("persistentvolumeclaims", "secrets", "statefulsets")
WAIT = ("--wait", "--timeout", "300s")
KEPT = ("--reset-then-reuse-values",)
"""As the handbook upgrades: what was set stays, and what is new has its default."""


@pytest.fixture(params=[3, 4])
def cluster(request, tmp_path):
    with ApiServer(tmp_path) as api, Paper(api, tmp_path):
        yield Cluster(request.param, api)


class Cluster(Operator):
    def passwords(self):
        """What every Secret of the release says, Helm's own left out."""
        found, _ = self.api.objects.all("secrets", "default")
        return {
            one["metadata"]["name"]: one["data"]
            for one in found
            if not one["type"].startswith("helm.sh/")
        }

    def holds_data(self):
        """Each object that holds some, by its id: another one of its name is another one."""
        return {
            (plural, one["metadata"]["name"], one["metadata"]["uid"])
            for plural in HOLD_DATA
            for one in self.api.objects.all(plural, "default")[0]
            if not one.get("type", "").startswith("helm.sh/")
        }

    def chart_of(self, plural, name):
        return self.api.objects.get(plural, "default", name)["metadata"]["labels"]["helm.sh/chart"]


def member(name):
    """A file of the previous release."""
    with tarfile.open(PREVIOUS) as packed:
        return packed.extractfile(f"seaway/{name}").read().decode()


def version_of(chart):
    return tuple(map(int, chart["version"].split(".")))


def test_what_was_installed_is_upgraded_and_taken_back(cluster):
    cluster.helm("install", "seaway", PREVIOUS, *WAIT, "--set", "crm.env.SEAWAY_LOG_LEVEL=debug")
    passwords, data = cluster.passwords(), cluster.holds_data()
    before = cluster.chart_of("deployments", "seaway-crm")
    assert len(data) > 10
    cluster.helm("upgrade", "seaway", SYSTEM, *WAIT, *KEPT, "--set", "global.imageTag=1.2.4")
    assert cluster.chart_of("deployments", "seaway-crm") != before
    crm = cluster.api.objects.get("deployments", "default", "seaway-crm")
    [container, *_] = crm["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "seaway/crm:1.2.4"
    assert {"name": "SEAWAY_LOG_LEVEL", "value": "debug"} in container["env"]
    assert cluster.passwords() == passwords
    assert data <= cluster.holds_data()
    a_larger_volume_is_refused(cluster)
    cluster.helm("rollback", "seaway", "1", *WAIT)
    assert cluster.chart_of("deployments", "seaway-crm") == before
    assert cluster.passwords() == passwords
    assert data <= cluster.holds_data()


def a_larger_volume_is_refused(cluster):
    """A StatefulSet's claims stay as they were made: no API server takes others."""
    size = ("--set", "backbone.nats.storage.size=20Gi")
    with pytest.raises(Refused, match=r"nats\.storage\.size goes from 10Gi to 20Gi.*--cascade="):
        cluster.helm("upgrade", "seaway", SYSTEM, *KEPT, *size)
    # The same size in other words is the same.
    size = ("--set", "backbone.nats.storage.size=10240Mi")
    cluster.helm("upgrade", "seaway", SYSTEM, *KEPT, *size, "--dry-run=server")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_values_file_of_the_previous_chart_is_known_and_changes_nothing_that_stays(
    profile, tmp_path
):
    values = tmp_path / "values.yaml"
    values.write_text(member(f"profiles/{profile}.yaml"))
    known = ("--kube-version", "1.37.0", "-f", values)
    olds, news = (
        {(one["kind"], one["metadata"]["name"]): one for one in objects_in(text)}
        for text in (run(4, "template", "seaway", chart, *known) for chart in (PREVIOUS, SYSTEM))
    )
    assert news.keys() >= olds.keys()
    for key, old in olds.items():
        plural = f"{key[0].lower()}s"
        changed(plural, old, news[key])


def test_each_chart_that_changed_has_another_version():
    now = yaml.safe_load((SYSTEM / "Chart.yaml").read_text())
    assert version_of(now) > version_of(yaml.safe_load(member("Chart.yaml")))
    for name in ("backbone", "service"):
        before = yaml.safe_load(member(f"charts/{name}/Chart.yaml"))
        chart = yaml.safe_load((SYSTEM / "charts" / name / "Chart.yaml").read_text())
        assert version_of(chart) > version_of(before)
        wanted = {one["version"] for one in now["dependencies"] if one["name"] == name}
        assert wanted == {chart["version"]}
