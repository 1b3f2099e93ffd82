"""Write what is looked at: tables of the handbook, dashboards, rules.

python deploy/observability/generate.py            # write all of it
python deploy/observability/generate.py --check    # say what is not as it would be written
"""

import re
import sys
from pathlib import Path

import catalogue
from durations import Clock
from event_bus_board import EVENT_BUS
from grpc_board import GRPC
from objectives_board import SLO
from rules import rules
from services_board import SERVICES
from sign_up_board import SIGN_UP_FLOW

ROOT = Path(__file__).parents[2]
HANDBOOK = ROOT / "docs/operate.md"
CHART = ROOT / "deploy/helm/backbone/files"
"""What the chart of the backbone brings to Prometheus and Grafana."""
DASHBOARDS = (SIGN_UP_FLOW, EVENT_BUS, GRPC, SERVICES, SLO)


def written() -> dict[Path, str]:
    """Return every file that is written, with its text."""
    page = _between(HANDBOOK.read_text(), "metrics", catalogue.tables())
    return {
        HANDBOOK: page,
        **{CHART / "dashboards" / f"{board.uid}.json": board.text() for board in DASHBOARDS},
        **{CHART / "rules" / name: text for name, text in rules(Clock()).items()},
    }


def stale() -> list[Path]:
    """Return the files that are not as they would be written."""
    return [path for path, text in written().items() if not _is(path, text)]


def main() -> int:
    """Write it, or say whether it is as it would be written."""
    if "--check" in sys.argv:
        for path in (different := stale()):
            sys.stderr.write(f"{path.relative_to(ROOT)} is not as `make dashboards` writes it\n")
        return bool(different)
    for path, text in written().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _between(page: str, name: str, text: str) -> str:
    found = re.search(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end -->)", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the handbook has no place for {name}")
    return page[: found.start()] + found[1] + "\n" + text + "\n" + found[2] + page[found.end() :]


if __name__ == "__main__":
    sys.exit(main())
