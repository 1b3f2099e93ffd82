"""The contracts in two versions, each with services that speak it: a PYTHONPATH of either.

The previous one is what was released last. The next one goes on from ours: it has a field more in
what clients send, in the request and in the rejection, and one reason more.
"""

import os
import shutil
import subprocess
import sys
from compileall import compile_dir
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"
BUF = Path(sys.executable).with_name("buf")
USERS, SIGN_UP = "acme/users/v1/users.proto", "acme/gateway/v1/sign_up.proto"
NUMBER = 15
"""Of the field that is new, wherever it is new."""
NEW_REASON = 2
SERVICES = ("gateway", "user_creation", "welcome_email", "data_warehouse", "crm")


def previous(folder, version):
    """Make what was released last; return the PYTHONPATH of its services."""
    return _made(
        FileDescriptorSet.FromString((PROTO / "released.binpb").read_bytes()), folder, version
    )


def upcoming(folder, version):
    """Make the next version, which `buf breaking` has to let pass; return its PYTHONPATH."""
    files = FileDescriptorSet.FromString((PROTO / "contracts.binpb").read_bytes())
    messages = {m.name: m for file in files.file for m in file.message_type}
    for name in ("SignUpRequest", "CreateUserRequested", "CreateUserRejected"):
        messages[name].field.append(_text("referrer"))
    [reasons] = messages["CreateUserRejected"].enum_type
    reasons.value.append(EnumValueDescriptorProto(name="REASON_NOT_WELCOME", number=NEW_REASON))
    path = _made(files, folder, version)
    against = ("--against", PROTO / "released.binpb", "--path", "acme", "--path", "seaway")
    subprocess.run([BUF, "breaking", folder / "contracts.binpb", *against], cwd=PROTO, check=True)
    return f"{path}{os.pathsep}{Path(__file__).parent / 'upcoming'}"


def _text(name):
    return FieldDescriptorProto(
        name=name,
        json_name=name,
        number=NUMBER,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )


def _made(files, folder, version):
    folder.mkdir()
    contracts = folder / "contracts.binpb"
    contracts.write_bytes(files.SerializeToString())
    out = (f"--python_out={folder}", f"--grpc_python_out={folder}")
    code = protoc.main(["protoc", f"--descriptor_set_in={contracts}", *out, USERS, SIGN_UP])
    assert code == 0
    for file in files.file:
        if file.name in (USERS, SIGN_UP):
            module = f"{file.name.removesuffix('.proto').replace('/', '.')}_pb2"
            names = [each.name for each in (*file.message_type, *file.enum_type)]
            offers = f"from {module} import {', '.join(names)}\n"
            (folder / file.name).with_name("__init__.py").write_text(offers)
    by_hand = Path("acme/users/v1/address.py")
    shutil.copy(PROTO / "python" / by_hand, folder / by_hand)
    for service in SERVICES:
        about = folder / f"{service}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: {service}\nVersion: {version}\n")
    # Each process that speaks them would do it again, where Python is told to keep nothing.
    compile_dir(folder, quiet=1)
    return str(folder)
