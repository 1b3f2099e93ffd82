"""What every file keeps to: short bodies, short files, words that mean something, no traces."""

import ast
import re
import subprocess
from pathlib import Path
from statistics import quantiles

import pytest
import seaway

ROOT = Path(__file__).parents[2]
PLATFORM = ROOT / "platform/src"
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
LONGEST_BODY = 40
LONGEST_FILE = 300
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

# style.md's vocabulary: such a word says nothing, so the name can be better.
EMPTY_WORDS = {
    *("manager", "helper", "helpers", "util", "utils", "common", "base", "abstract", "impl"),
    *("processor", "engine", "bus", "wrapper", "factory", "context", "data", "info", "misc"),
}
EMPTY_FORMS = re.compile(r"^_?do_|handle_message|_internal\b|_v2\b|^_?I[A-Z][a-z]")
ALLOWED = {
    "data": "the bytes of a delivery that nobody has read yet, as CloudEvents calls them",
    "data_warehouse": "everybody's word for it",
    "auth_context": "gRPC's name for what is known of the other end",
    "event_bus_board": "what those who look at it call all that is between the services",
}


def sources():
    folders = [PLATFORM, *sorted(ROOT.glob("services/*/src")), ROOT / "deploy"]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [path for path in files if not GENERATED.search(path.name)]


SOURCES = sources()
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
every_file = pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTION)]


def body_length(function):
    """Lines from the first statement after the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def is_empty(name):
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return bool(EMPTY_FORMS.search(name)) or bool({w.lower() for w in words} & EMPTY_WORDS)


@every_file
def test_a_body_fits_on_a_screen(path):
    long = {f.name: n for f in functions(TREES[path]) if (n := body_length(f)) > LONGEST_BODY}
    assert long == {}


def test_most_bodies_are_much_shorter(capsys):
    lengths = [body_length(f) for tree in TREES.values() for f in functions(tree)]
    p95 = quantiles(lengths, n=20)[-1]
    with capsys.disabled():
        print(f"\n{len(lengths)} functions: body p95 {p95:.0f} lines, longest {max(lengths)}")
    assert p95 <= 20


@every_file
def test_a_file_tells_one_story(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@every_file
def test_every_name_says_something(path):
    named = [n for n in ast.walk(TREES[path]) if isinstance(n, (*FUNCTION, ast.ClassDef))]
    names = {node.name for node in named} | {path.stem, path.parent.name}
    assert {name for name in names if is_empty(name)} - ALLOWED.keys() == set()


@pytest.mark.parametrize(
    "name",
    [
        "ConnectionManager",
        "string_utils",
        "BaseConsumer",
        "IBroker",
        "do_it",
        "UserDTOFactory",
        "handle_message_now",
        "run_internal",
        "publish_v2",
        "MessageBus",
        "_Wrapper",
    ],
)
def test_a_name_that_says_nothing_is_recognised(name):
    assert is_empty(name)


@pytest.mark.parametrize("name", ["Inbox", "database", "IdNotFound", "busy", "information", "do"])
def test_a_name_that_only_looks_like_one_is_not(name):
    assert not is_empty(name)


def catches_everything(node):
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)] if node.type else [""]
    return bool({"", "Exception", "BaseException"} & set(caught))


def test_only_the_consumer_catches_whatever_a_handler_raises():
    catching = [
        path.relative_to(PLATFORM).as_posix()
        for path, tree in TREES.items()
        if path.is_relative_to(PLATFORM)
        for node in ast.walk(tree)
        if catches_everything(node)
    ]
    assert catching == ["seaway/consumer.py"]


@every_file
def test_imports_are_at_the_top_and_absolute(path):
    tree = TREES[path]
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert [n.lineno for n in imports if n not in tree.body] == []
    assert [n.lineno for n in imports if getattr(n, "level", 0)] == []


def test_the_platform_looks_down_never_up_to_its_own_front_door():
    up = [
        path.name
        for path, tree in TREES.items()
        if path.is_relative_to(PLATFORM)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "seaway"
        # `from seaway import telemetry` names a module, not a name of the front door.
        and {name.name for name in node.names} & set(seaway.__all__)
    ]
    assert up == []


def test_nothing_of_ours_shadows_the_standard_library():
    # With platform/__init__.py, `import platform` from the root would be ours; with one under
    # tests/, tests/platform/ would be.
    assert not (ROOT / "platform/__init__.py").exists()
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and p != Path(__file__)]


def test_no_file_knows_the_machine_it_was_written_on_or_where_packages_come_from():
    traces = re.compile(
        rb"(?<![\w.>/])/(work|root|home/\w+|Users/\w+)/|pypi\.org|pythonhosted|index-url"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked_files()
        if (match := traces.search(path.read_bytes()))
    ]
    assert found == []


def test_the_lock_has_a_hash_for_every_package_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*-", lock.replace("    --hash=sha256:", ""), re.MULTILINE)
    packages = re.split(r"\n(?=\S)", lock.strip())
    assert len(packages) > 50
    for package in packages:
        assert re.match(r"[a-z0-9._-]+==\S+", package), package
        assert "--hash=sha256:" in package, package
