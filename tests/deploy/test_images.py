"""The recipe of the images: what is in them, who runs them, and what never gets there."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import BUILD, FINAL, HEAD, environment, said, stages
from locks import DEPLOYED, ROOT

ARGUMENTS = re.compile(r"\$\{(\w+)\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|PRIVATE|_KEY", re.IGNORECASE)


def test_the_base_is_chosen_by_whoever_builds_and_otherwise_has_a_version():
    [base] = said(HEAD, "ARG")
    wanted = (ROOT / ".python-version").read_text().strip()
    assert re.fullmatch(rf"BASE_IMAGE=python:{wanted}-slim-\w+(@sha256:\w+)?", base)
    assert said(BUILD, "FROM") == [
        "${BASE_IMAGE} AS tools",
        "tools AS shared",
        "tools AS build",
    ]


def test_the_image_begins_with_nothing_and_takes_one_folder():
    # No shell, no package manager, no pip: what is not there cannot be turned against it.
    assert said(FINAL, "FROM") == ["scratch"]
    assert said(FINAL, "COPY") == ["--from=build /root-of-image /"]
    assert said(FINAL, "RUN") == []


def test_it_runs_as_nobody_s_user_and_is_the_process_that_gets_sigterm():
    assert said(FINAL, "USER") == ["10001:10001"]
    assert said(FINAL, "STOPSIGNAL") == ["SIGTERM"]
    assert said(FINAL, "ENTRYPOINT") == ['["/opt/seaway/bin/service"]']
    assert said(FINAL, "EXPOSE") == ["9090"]


def test_it_is_production_and_can_be_asked_how_it_is():
    told = environment(FINAL)
    assert told["SEAWAY_PRODUCTION"] == "true"
    assert told["SEAWAY_METRICS_PORT"] == "9090"
    assert {value for name, value in told.items() if name.endswith("_HOST")} == {"0.0.0.0"}


def test_no_secret_is_in_any_layer():
    named = [*environment(BUILD), *environment(FINAL)]
    named += [words.partition("=")[0] for stage in stages() for words in said(stage, "ARG")]
    assert [name for name in named if SECRET.search(name)] == []
    # The address of an index may hold a password. It is mounted, and gone when the step is.
    mounts = [mount for run in said(BUILD, "RUN") for mount in re.findall(r"--mount=(\S+)", run)]
    assert set(mounts) == {
        "type=secret,id=pip,target=/etc/pip.conf",
        "type=cache,target=/build/cache",
    }


def test_what_it_fetches_is_what_its_own_lock_says_by_hash():
    locks = {word for words in said(BUILD, "COPY") for word in words.split() if ".lock" in word}
    assert locks == {"deploy/images/build.lock", "${MEMBER}/requirements.lock"}
    fetching = [
        command
        for run in said(BUILD, "RUN")
        for command in run.split("&&")
        if "pip" in command and re.search(r"\b(install|wheel)\b", command)
    ]
    assert len(fetching) == 5
    for command in fetching:
        assert "--no-index" in command or {"--require-hashes", "--only-binary"} <= set(
            command.split()
        )


def test_nothing_of_this_folder_gets_there_that_is_not_named():
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    let_in = {line.removeprefix("!") for line in rest if line.startswith("!")}
    assert let_in == {"deploy/images", "platform", "proto", "services"}
    copied = [w.split()[0] for w in said(BUILD, "COPY") if not w.startswith("--from=shared ")]
    places = {ARGUMENTS.sub("services", place) for place in copied}
    assert all(any(Path(place).is_relative_to(folder) for folder in let_in) for place in places)


@pytest.fixture
def built(tmp_path):
    """What `make images` asks of docker: a program in its place writes that down."""
    docker = tmp_path / "docker"
    notes = tmp_path / "notes"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n')
    docker.chmod(0o755)
    make = ["make", "images", f"DOCKER={docker}", "TAG=1.2.3", "PIP_CONF=/dev/null"]
    base = "BASE_IMAGE=python:3.12-slim-bookworm@sha256:0123"
    subprocess.run(
        [*make, base, f"BOOTSTRAP={sys.executable}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    return [shlex.split(line) for line in notes.read_text().splitlines()]


def test_make_images_builds_each_from_the_base_that_is_asked_for(built):
    assert len(built) == len(DEPLOYED)
    for member, words in zip(DEPLOYED, built, strict=True):
        told = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        assert told["BASE_IMAGE"] == "python:3.12-slim-bookworm@sha256:0123"
        assert told["MEMBER"] == member
        assert (ROOT / member / "src" / told["MODULE"].replace(".", "/") / "__main__.py").exists()
        assert f"seaway/{told['SERVICE'].replace('_', '-')}:1.2.3" in words
        assert "id=pip,src=/dev/null" in words


def assembling():
    """deploy/images/root.py, which the Dockerfile runs, as a module."""
    spec = importlib.util.spec_from_file_location("root", ROOT / "deploy/images/root.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sigterm_ends_it_even_before_the_service_could_handle_it(tmp_path):
    # Process 1 of a container is not ended by a signal that it does not handle.
    (tmp_path / "slow.py").write_text(
        "import signal\nprint('begun', flush=True)\nsignal.pause()\n"
    )
    launcher = tmp_path / "service"
    launcher.write_text(assembling().LAUNCHER.format(module="slow"))
    process = subprocess.Popen(
        [sys.executable, launcher], env={"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"begun\n"
        process.terminate()
        assert process.wait(50) == 143


def test_a_library_that_a_wheel_holds_three_times_is_kept_once(tmp_path):
    for name in ("libx.so", "libx.so.1", "libx.so.1.2"):
        (tmp_path / name).write_bytes(b"the same")
    (tmp_path / "liby.so").write_bytes(b"this")
    (tmp_path / "liby.so.1").write_bytes(b"that")
    assembling().link_twins(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.is_symlink()) == [
        "libx.so.1.2",
        "liby.so",
        "liby.so.1",
    ]
    assert (tmp_path / "libx.so").read_bytes() == b"the same"


def test_a_program_is_smaller_without_its_symbols_and_does_the_same(tmp_path):
    cut, text = tmp_path / "program", tmp_path / "text"
    shutil.copy(Path(sys.executable).with_name("nats-server"), cut)
    text.write_text("no program")
    before, known = cut.stat().st_size, [cut, "--version"]
    for file in (cut, text):
        assembling().cut_symbols(file)
    assert cut.stat().st_size < before
    said = subprocess.run(known, capture_output=True, text=True, check=True).stdout
    assert said.startswith("nats-server: v")
    assert text.read_text() == "no program"
