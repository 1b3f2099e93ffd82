"""Makes everything that follows from the .proto files; `--check` only compares.

What it writes is committed, so that a clone works without protoc and a reviewer sees what a
change of contract does to the code.
"""

import filecmp
import os
import shutil
import sys
import tempfile
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

HERE = Path(__file__).parent
OPTIONS = "seaway/messaging/v1/options.proto"
DOMAINS = sorted(str(p.relative_to(HERE)) for p in HERE.glob("acme/**/*.proto"))
WITH_SERVICES = [name for name in DOMAINS if "\nservice " in (HERE / name).read_text()]
RULES = "buf/validate/validate.proto"


def run_protoc(descriptors: Path, *arguments: str) -> None:
    """Run the protoc of grpcio-tools; raise with its exit code when it refuses."""
    code = protoc.main(["protoc", f"--descriptor_set_in={descriptors}", f"-I{HERE}", *arguments])
    if code:
        raise SystemExit(f"protoc {' '.join(arguments)} failed with {code}")


def validate_descriptors() -> bytes:
    """Return validate.proto as a descriptor set: the wheel has no .proto file of it."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    return files.SerializeToString(deterministic=True)


def reexports(proto: str) -> str:
    """Return an __init__.py that offers every top-level name of a .proto file's module."""
    lines = (HERE / proto).read_text().splitlines()
    names = sorted(line.split()[1] for line in lines if line.startswith(("message ", "enum ")))
    module = proto.removesuffix(".proto").replace("/", ".") + "_pb2"
    imports = "".join(f"    {name} as {name},\n" for name in names)
    return f'"""Made by `make gen` from {proto}."""\n\nfrom {module} import (\n{imports})\n'


def generate(root: Path) -> None:
    """Write all generated files below `root`, laid out as in the repository."""
    proto, python = root / "proto", root / "proto/python"
    platform = root / "platform/src"
    python.mkdir(parents=True)
    platform.mkdir(parents=True)
    rules = proto / "validate.binpb"
    rules.write_bytes(validate_descriptors())
    ours, theirs = f"--python_out={python}", f"--mypy_out=quiet:{python}"
    run_protoc(rules, f"--python_out={platform}", f"--mypy_out=quiet:{platform}", OPTIONS)
    run_protoc(rules, ours, theirs, *DOMAINS, RULES)
    grpc, stubs = f"--grpc_python_out={python}", f"--mypy_grpc_out=quiet:{python}"
    run_protoc(rules, grpc, stubs, *WITH_SERVICES)
    everything = f"--descriptor_set_out={proto / 'contracts.binpb'}"
    run_protoc(rules, "--include_imports", "--include_source_info", everything, OPTIONS, *DOMAINS)
    for name in DOMAINS:
        (python / name).with_name("__init__.py").write_text(reexports(name))


def main() -> None:
    """Replace the committed files by new ones, or with `--check` exit 1 where they differ."""
    repository = HERE.parent
    # protoc looks for its plugins there; ours are beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        made = sorted(p.relative_to(folder) for p in Path(folder).rglob("*") if p.is_file())
        if "--check" in sys.argv:
            stale = [
                str(name)
                for name in made
                if not (repository / name).is_file()
                or not filecmp.cmp(repository / name, Path(folder, name), shallow=False)
            ]
            if stale:
                raise SystemExit(f"out of date, run `make gen`: {', '.join(stale)}")
            return
        for name in made:
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder, name), repository / name)


if __name__ == "__main__":
    main()
