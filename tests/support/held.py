"""A SQLite file that somebody else holds."""

import sqlite3
from contextlib import closing, contextmanager


@contextmanager
def locked(file):
    """Have somebody else write to it all the time, so that nobody can."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
