"""Builds the sign-up page from the .proto files and src/; `--check` says whether it is up to date.

What it writes is committed, so that whoever has no Node has the page. `--check` needs no Node
either: it compares the sources with those that the page was built from. Where the packages are
installed, it builds anew and compares the files, too.
"""

import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2
from grpc_tools import protoc

HERE = Path(__file__).parent
CONTRACTS = HERE.parents[2] / "proto/contracts.binpb"
SITE = HERE.parent / "src/gateway/site"
BUILT_FROM = HERE / "built-from.sha256"
PACKAGES = HERE / "node_modules"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")

API = "acme/gateway/v1/sign_up.proto"
ERRORS = "google/rpc/error_details.proto"
READ = ("BadRequest", "ErrorInfo", "LocalizedMessage", "RetryInfo")
"""The error details that the page reads, and what they consist of."""


def api() -> FileDescriptorProto:
    """Return the API without what only servers need: the rules would be most of the page."""
    files = FileDescriptorSet.FromString(CONTRACTS.read_bytes()).file
    [file] = [file for file in files if file.name == API]
    file.dependency[:] = ["google/protobuf/timestamp.proto"]
    for message in file.message_type:
        for field in message.field:
            field.ClearField("options")
    for service in file.service:
        for method in service.method:
            method.ClearField("options")
    return file


def errors() -> FileDescriptorProto:
    """Return the error details that the page reads."""
    file = FileDescriptorProto()
    error_details_pb2.DESCRIPTOR.CopyToProto(file)
    messages = [message for message in file.message_type if message.name in READ]
    del file.message_type[:]
    file.message_type.extend(messages)
    return file


def generate(folder: Path) -> None:
    """Write the TypeScript of the API into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known = FileDescriptorSet()
    for module in (timestamp_pb2, duration_pb2):
        module.DESCRIPTOR.CopyToProto(known.file.add())
    known.file.extend([api(), errors()])
    with tempfile.NamedTemporaryFile(suffix=".binpb") as descriptors:
        descriptors.write(known.SerializeToString())
        descriptors.flush()
        code = protoc.main(
            [
                "protoc",
                f"--descriptor_set_in={descriptors.name}",
                f"--plugin=protoc-gen-es={PACKAGES / '.bin/protoc-gen-es'}",
                f"--es_out={folder}",
                "--es_opt=target=ts",
                API,
                ERRORS,
            ]
        )
    if code:
        raise SystemExit(f"protoc failed with {code}")


def build(into: Path) -> None:
    """Make the page, with the packages that are installed."""
    vite = [str(PACKAGES / ".bin/vite"), "build", "--logLevel", "warn", "--outDir", str(into)]
    for command in ([str(PACKAGES / ".bin/tsc")], [*vite, "--emptyOutDir"]):
        subprocess.run(command, cwd=HERE, check=True)


def fingerprint() -> str:
    """Return a hash of everything that the page is made from, and of what was made."""
    folders = (HERE / "src", HERE / "public", SITE)
    files = [HERE / name for name in SOURCES]
    files += sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())
    contents = [api().SerializeToString(deterministic=True), *(p.read_bytes() for p in files)]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest() + "\n"


def check() -> None:
    """Exit with 1 and a sentence if the page is not what the sources say."""
    if BUILT_FROM.read_text() != fingerprint():
        raise SystemExit("the sign-up page is out of date, run `make page`")
    if not PACKAGES.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        made = _names(Path(folder))
        _, different, missing = filecmp.cmpfiles(SITE, folder, made, shallow=False)
        if made != _names(SITE) or different or missing:
            raise SystemExit("the sign-up page was built otherwise, run `make page`")


def _names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def main() -> None:
    """Build the page and note what from, or with `--check` compare."""
    if "--check" in sys.argv:
        return check()
    if shutil.which("npm") is None:
        raise SystemExit("the page is built with Node 20 or newer, and there is no npm here")
    subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True, env=dict(os.environ))
    generate(HERE / "src/gen")
    build(SITE)
    BUILT_FROM.write_text(fingerprint())
    return None


if __name__ == "__main__":
    main()
