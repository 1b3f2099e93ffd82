"""Puts together the root of an image: Python, one service, and what these load.

Run by the Dockerfile, in a Debian with that Python, after the service was installed into
/opt/seaway. It needs nothing but Python and Debian's `ldd`, `dpkg` and `ldconfig`.
"""

import argparse
import compileall
import filecmp
import os
import py_compile
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

SERVICE = Path("/opt/seaway")
"""A virtual environment: the service, its dependencies, and nothing of the base's."""
USER = 10001
HOME = Path("var/lib/seaway")
"""Where a service keeps what it is told to keep here; the only folder that it owns."""

# Python's own, which no service loads.
NOT_OF_PYTHON = (
    *("config-*", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test"),
    *("tkinter", "turtledemo", "_tkinter*.so", "_test*.so", "_ctypes_test*.so", "__pycache__"),
    *("curses", "_curses*.so", "readline*.so", "nis*.so", "dbm", "_dbm*.so", "_gdbm*.so"),
)
# What packages bring with them for those who build on them, a protocol that no table speaks,
# and Google's messages but those of errors.
NOT_OF_PACKAGES = (
    *("pyarrow/tests", "pyarrow/include", "pyarrow/src", "pyarrow/*flight*"),
    *("pyarrow/*.px[di]", "pyarrow/*.pyx", "pyarrow/includes", "pyarrow/*_cpp_tests*"),
    *("google/api", "google/cloud", "google/gapic", "google/logging"),
    *("google/longrunning", "google/type"),
    *("sqlalchemy/testing", "greenlet/tests", "*/*.pyi", "*/__pycache__"),
)
# The beginning of a program for 64 bits, little end first, as elf(5) has it; and of each segment.
ELF64 = b"\x7fELF\x02\x01"
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
LAUNCHER = """#!/opt/seaway/bin/python -I
import runpy
import signal
import sys

# Process 1 ignores what it does not handle, and a service begins to handle this when it runs.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""


def put_together(root: Path, module: str) -> None:
    """Make `root` the whole file system of an image that runs a module."""
    lay_out(root)
    shutil.copytree(SERVICE, root / SERVICE.relative_to("/"), symlinks=True)
    copy_python(root)
    launcher = root / SERVICE.relative_to("/") / "bin/service"
    launcher.write_text(LAUNCHER.format(module=module))
    launcher.chmod(0o755)
    remove(launcher.parent.glob("[aA]ctivate*"))
    packages = next(root.glob("opt/seaway/lib/python3*/site-packages"))
    for pattern in NOT_OF_PACKAGES:
        remove(packages.glob(pattern))
    link_twins(packages)
    compile_all(root)
    libraries = shared_libraries(root)
    for library in sorted(libraries):
        copy(library, root)
    for file in root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            cut_symbols(file)
    name_packages(libraries, root)
    find_again(libraries, root)
    complete(root)


def lay_out(root: Path) -> None:
    """Make the folders of libraries where they are here: in Debian /lib leads to usr/lib."""
    for folder in Path("/").glob("lib*"):
        if folder.is_symlink():
            (root / "usr" / folder.name).mkdir(parents=True, exist_ok=True)
            (root / folder.name).symlink_to(folder.readlink())


def copy_python(root: Path) -> None:
    """Copy the interpreter that runs this, and its library."""
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        library,
        root / library.relative_to("/"),
        symlinks=True,
        ignore=shutil.ignore_patterns(*NOT_OF_PYTHON),
    )
    copy(Path(sys.executable), root)


def link_twins(packages: Path) -> None:
    """Keep libx.so.1.2 once: a wheel holds no links, so libx.so and libx.so.1 are copies of it."""
    for short in sorted(packages.rglob("*.so*")):
        longer = sorted(short.parent.glob(f"{short.name}.*"), key=lambda path: len(path.name))
        if longer and filecmp.cmp(short, longer[-1], shallow=False):
            short.unlink()
            short.symlink_to(longer[-1].name)


def cut_symbols(file: Path) -> None:
    """Cut off what follows the last segment of a program or library: nobody loads that.

    These are the names for a debugger, a tenth of pyarrow. What others link to stays.
    """
    with file.open("r+b") as opened:
        if opened.read(6) != ELF64:
            return
        opened.seek(0)
        header = list(ELF_HEADER.unpack(opened.read(ELF_HEADER.size)))
        where, count = header[5], header[10]
        opened.seek(where)
        table = opened.read(count * SEGMENT.size)
        ends = [offset + size for _, _, offset, _, _, size, _, _ in SEGMENT.iter_unpack(table)]
        opened.truncate(max(ends))
        header[6] = header[-2] = header[-1] = 0  # there is no table of sections any more
        opened.seek(0)
        opened.write(ELF_HEADER.pack(*header))


def compile_all(root: Path) -> None:
    """Compile everything once: a read-only root cannot keep what a start would compile.

    It carries a hash instead of a time, so that the same sources make the same image.
    """
    compileall.compile_dir(
        root,
        quiet=2,
        workers=0,
        stripdir=str(root),
        maxlevels=20,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def shared_libraries(root: Path) -> set[Path]:
    """Return what Python and the libraries under `root` load of the system, the loader too."""
    found = loaded_by([Path(sys.executable).resolve(), *root.rglob("*.so*")])
    return {library for library in found if not library.is_relative_to(root)}


def loaded_by(files: Iterable[Path]) -> set[Path]:
    """Return the libraries that programs and libraries load, the loader too."""
    found: set[Path] = set()
    for file in files:
        said = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
        if missing := [line.strip() for line in said.splitlines() if "not found" in line]:
            raise SystemExit(f"{file} needs what is not here: {missing}")
        words = [word for word in said.split() if word.startswith("/")]
        found |= {Path(os.path.abspath(word)) for word in words}
    return found


def copy(file: Path, root: Path) -> None:
    """Copy a file under its own name; where that is a link, what it leads to as well."""
    target = root / file.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_symlink():
        shutil.copy2(file, target)
        return
    if not target.is_symlink():
        target.symlink_to(file.readlink())
    copy(file.parent / file.readlink(), root)


def name_packages(libraries: set[Path], root: Path) -> None:
    """Say which of Debian's packages these are from, where scanners look for it."""
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True, exist_ok=True)
    for library in libraries:
        names = {str(library), str(library.resolve()), str(library.resolve()).removeprefix("/usr")}
        owner = first_line(["dpkg", "-S", *sorted(names)]).partition(":")[0]
        if owner:
            (status / owner).write_text(answer(["dpkg", "-s", owner]))


def find_again(libraries: set[Path], root: Path) -> None:
    """Have the loader look where the libraries are; of /usr/local/lib it knows only if told."""
    folders = sorted({str(library.parent) for library in libraries})
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/ld.so.conf").write_text("\n".join([*folders, ""]))
    subprocess.run(["ldconfig", "-r", root], check=True)


def complete(root: Path) -> None:
    """Add what is no library: whom we trust, who we are, and room to write."""
    for file in ("etc/os-release", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", file).exists():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", file), root / file)
    (root / "etc/passwd").write_text(f"seaway:x:{USER}:{USER}::/{HOME}:/nonexistent\n")
    (root / "etc/group").write_text(f"seaway:x:{USER}:\n")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / HOME).mkdir(parents=True)
    os.chown(root / HOME, USER, USER)


def remove(paths: Iterable[Path]) -> None:
    """Remove files, and folders with all that is in them."""
    for path in list(paths):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def answer(command: list[str]) -> str:
    """Return what a program says; nothing if it does not know."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def first_line(command: list[str]) -> str:
    """Return the first line of what a program says."""
    return answer(command).partition("\n")[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True, help="what `python -m` runs")
    parser.add_argument("--into", required=True, type=Path, help="a folder that is not there yet")
    arguments = parser.parse_args()
    put_together(arguments.into, arguments.module)
