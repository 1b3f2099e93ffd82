"""The contacts of the fake CRM, for people."""

from collections.abc import Collection, Mapping
from html import escape
from itertools import islice
from typing import Any

MOST_ROWS = 200
COLUMNS = {"firstname": "name", "email": "e-mail", "seaway_locale": "locale"}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>{count} contacts</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }}
small {{ color: #555 }}
</style></head>
<body><h1>{count} contacts</h1>
<p><small>The fake CRM. Newest first, {shown} of them. Calls by status: {calls}.</small></p>
<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></body></html>
"""


def page(contacts: Collection[Mapping[str, Any]], calls: Mapping[str, int]) -> str:
    """Return the newest contacts as a page that renews itself."""
    newest = list(islice(reversed(list(contacts)), MOST_ROWS))
    return PAGE.format(
        count=len(contacts),
        shown=len(newest),
        calls=", ".join(f"{status}: {n}" for status, n in calls.items()) or "none yet",
        head="".join(f"<th>{title}</th>" for title in COLUMNS.values()),
        rows="".join(_row(each) for each in newest),
    )


def _row(contact: Mapping[str, Any]) -> str:
    values = (str(contact["properties"].get(name) or "") for name in COLUMNS)
    return f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
