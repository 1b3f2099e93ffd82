"""What is read from migrations is what Alembic says of them."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from seaway.database import Database
from seaway.database.revisions import outdated
from seaway.errors import SettingsError

MIGRATIONS = sorted(Path(__file__).parents[2].glob("services/*/src/*/migrations"))


@pytest.fixture
def written(tmp_path):
    """Return a function that writes migrations, one for each text."""

    def write(*texts):
        (tmp_path / "versions").mkdir()
        for number, text in enumerate(texts):
            (tmp_path / f"versions/{number}.py").write_text(text)
        return tmp_path

    return write


def alembics(migrations):
    """Every state of the schema that Alembic knows, but the last."""
    scripts = ScriptDirectory(str(migrations))
    known = {script.revision for script in scripts.walk_revisions()}
    return {None, *known} - {scripts.get_current_head()}


@pytest.mark.parametrize("migrations", MIGRATIONS, ids=lambda folder: folder.parent.name)
def test_of_each_service(migrations):
    assert outdated(migrations) == alembics(migrations)
    assert outdated(migrations) >= {None}


def test_of_a_long_history(written):
    history = written(
        'revision = "b"\ndown_revision = "a"\n',
        'revision: str = "c"\ndown_revision: str | None = "b"\n',
        '"""The first."""\nimport alembic\ndown_revision = None\nrevision = "a"\nother = x = 1\n',
    )
    (history / "versions/__init__.py").touch()
    (history / "versions/.#0.py").write_text("an editor's")
    assert outdated(history) == alembics(history) == {None, "a", "b"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("down_revision = None", r"0.py: revision is to be a plain text"),
        ('revision = "a"', r"0.py: down_revision is to be a plain text"),
        ('revision, down_revision = "a", None', r"0.py: down_revision is to be"),
        ('revision = "a" + "b"\ndown_revision = None', r"0.py: revision is to be"),
        ('revision = "abcd"\ndown_revision = "ab"', r"no script has the revision 'ab'"),
    ],
)
async def test_what_only_alembic_could_read_is_refused_before_anything_is_migrated(
    written, tmp_path, text, wrong
):
    async with Database(f"sqlite:///{tmp_path}/a.db", "notes", written(text)) as database:
        with pytest.raises(SettingsError, match=wrong):
            await database.migrate()
