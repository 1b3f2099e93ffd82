"""In what states a schema may be, read from the migrations without running them.

Running them takes Alembic, which no service needs once its schema is there.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from seaway.errors import SettingsError

NAMES = ("revision", "down_revision")


def outdated(migrations: Path) -> frozenset[str | None]:
    """Return every state from which a migration leads on; None is that of an empty database.

    Raises SettingsError for what only Alembic could read: a script that does not plainly assign
    its own revision and the one before, or that follows one whose script is not here.
    """
    scripts = sorted((migrations / "versions").glob("[!_.]*.py"))
    said = [_assigned(script) for script in scripts]
    known = {names["revision"] for names in said}
    before = {names["down_revision"] for names in said}
    if missing := before - known - {None}:
        raise SettingsError(f"{migrations}: no script has the revision {min(missing)!r}")
    return frozenset(before)


def current(connection: Connection) -> set[str | None]:
    """Return the state in which a schema is; several after migrations that nobody merged."""
    if not inspect(connection).has_table("alembic_version"):
        return {None}
    found = connection.scalars(text("SELECT version_num FROM alembic_version"))
    return set(found) or {None}


def _assigned(script: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for statement in ast.parse(script.read_bytes()).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(name)], value=ast.Constant(value))
                | ast.AnnAssign(target=ast.Name(name), value=ast.Constant(value))
            ) if name in NAMES:
                found[name] = value
    if missing := set(NAMES) - found.keys():
        raise SettingsError(f"{script}: {min(missing)} is to be a plain text, or None")
    return found
