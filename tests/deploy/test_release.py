"""How a release is made: `.ci/release`, in a copy, with programs that write down what is asked."""

import json
import os
import shutil
import subprocess

import pytest
import yaml
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from helm import run
from locks import DEPLOYED, ROOT, installed_by, packages_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BASE = "python:3.12-slim-bookworm@sha256:0123"
REGISTRY = "registry.example/seaway"
ASKED = {
    "docker": 'case "$*" in *imagetools*) echo sha256:1a;; esac',
    "helm": 'echo "Pushed: a chart"; echo "Digest: sha256:2b"',
    "cosign": ":",
}
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
IMAGES = {
    "monitor" if member == "platform" else member.removeprefix("services/").replace("_", "-"): (
        ROOT / member / "requirements.lock"
    )
    for member in DEPLOYED
}


class Place:
    """A copy of what is committed here, or would be, as the release 1.2.3."""

    def __init__(self, folder):
        self.folder = folder / "seaway"
        self.programs = folder / "programs"
        self.notes = folder / "notes"
        self._copy()
        self.git("init", "-q")
        self.change("CHANGELOG.md", "\n## 1.2.3\n")
        self.git("tag", "v1.2.3")
        self.programs.mkdir()
        for name, does in ASKED.items():
            program = self.programs / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.notes}\n{does}\n')
            program.chmod(0o755)

    def _copy(self):
        listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, files.split("\0")):
            if (ROOT / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name, follow_symlinks=False)
                # Older than what is installed, or make would install it from here.
                os.utime(self.folder / name, (0, 0), follow_symlinks=False)
        for name in (".uv", ".venv"):
            (self.folder / name).symlink_to(ROOT / name)

    def git(self, *arguments):
        subprocess.run([*GIT, *arguments], cwd=self.folder, check=True, capture_output=True)

    def change(self, name, more):
        with (self.folder / name).open("a") as file:
            file.write(more)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "Change it")

    def release(self, version="1.2.3", **settings):
        told = {"REGISTRY": REGISTRY, "BASE_IMAGE": BASE, **settings}
        path = f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run(
            [self.folder / ".ci/release", version],
            env={"PATH": path, "HOME": str(self.folder), **told},
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self, program):
        return [line for line in self.notes.read_text().splitlines() if line.startswith(program)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("release"))
    nothing_to_install = ["make", "--question", ".venv/.ready"]
    subprocess.run(nothing_to_install, cwd=place.folder, check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def released(place):
    done = place.release()
    assert done.returncode == 0, done.stdout + done.stderr
    return place


WRONG = {
    "no version": ({"version": ""}, "say which version"),
    "half a version": ({"version": "1.2"}, "say which version"),
    "another version": ({"version": "1.2.4"}, "this commit is not tagged v1.2.4"),
    "nowhere": ({"REGISTRY": ""}, "REGISTRY is empty"),
    "any base": ({"BASE_IMAGE": "python:3.12-slim-bookworm"}, "BASE_IMAGE needs a digest"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_would_be_no_release_is_refused(place, what):
    told, said = WRONG[what]
    refused = place.release(**told)
    assert refused.returncode == 1
    assert said in refused.stderr


def test_so_is_what_is_in_no_commit_or_not_in_the_changelog(place):
    new = place.folder / "new"
    new.touch()
    assert "changes that no commit has" in place.release().stderr
    new.unlink()
    place.git("tag", "v1.2.5")
    assert "CHANGELOG.md has no section 1.2.5" in place.release("1.2.5").stderr
    assert not place.notes.exists()


def test_each_image_is_built_from_the_digest_pushed_with_provenance_and_signed(released):
    asked = released.asked("docker buildx build")
    assert len(asked) == len(IMAGES)
    for name, line in zip(IMAGES, asked, strict=True):
        assert "--push --provenance=mode=max --platform=linux/amd64" in line
        assert f"--build-arg BASE_IMAGE={BASE} " in line
        assert f"-t {REGISTRY}/{name}:1.2.3 " in line
    signed = released.asked("cosign")
    for name in IMAGES:
        image = f"{REGISTRY}/{name}@sha256:1a"
        what = f"--type cyclonedx --predicate dist/sbom/{name}.cdx.json"
        assert f"cosign sign --yes {image}" in signed
        assert f"cosign attest --yes {what} {image}" in signed
    for name in ("backbone", "seaway", "service"):
        assert f"cosign sign --yes {REGISTRY}/charts/{name}@sha256:2b" in signed


@pytest.mark.parametrize("name", IMAGES)
def test_an_sbom_names_what_the_lock_of_its_image_does_by_hash(released, name):
    bom = json.loads((released.folder / f"dist/sbom/{name}.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == ("seaway" if name == "monitor" else name)
    found = {(one["name"], one["purl"], frozenset(hashes_of(one))) for one in bom["components"]}
    packages = packages_of(IMAGES[name])
    assert packages.keys() == installed_by(IMAGES[name])  # none of it is for another system
    assert found == {
        (package, f"pkg:pypi/{package}@{str(wanted.specifier)[2:]}", hashes)
        for package, (wanted, hashes) in packages.items()
    }


def test_an_sbom_is_one_to_the_strictest_of_its_schemas(released):
    text = (released.folder / "dist/sbom/crm.cdx.json").read_text()
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"book"', 1)) is not None


def hashes_of(component):
    for reference in component["externalReferences"]:
        for one in reference["hashes"]:
            yield f"--hash=sha256:{one['content']}"


def test_packed_charts_install_the_images_of_the_release(released, tmp_path):
    charts = released.folder / "dist/charts"
    version = yaml.safe_load((ROOT / "deploy/helm/seaway/Chart.yaml").read_text())["version"]
    rendered = run(4, "template", "seaway", charts / f"seaway-{version}.tgz")
    images = {line.strip() for line in rendered.splitlines() if "image: seaway/" in line}
    assert len(images) == len(IMAGES)
    assert all(line.rstrip('"').endswith(":1.2.3") for line in images)


def test_all_that_was_made_is_in_the_checksums_that_are_signed(released):
    dist = released.folder / "dist"
    listed = [line.split()[1] for line in (dist / "checksums").read_text().splitlines()]
    made = {str(p.relative_to(dist)) for p in dist.rglob("*") if p.is_file()}
    assert {*listed, "checksums"} == made
    assert len((dist / "pushed").read_text().splitlines()) == len(IMAGES) + 3
    [signed] = released.asked("cosign sign-blob")
    assert signed.endswith(" dist/checksums")
