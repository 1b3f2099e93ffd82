"""Write the chart's README from its values.yaml: `python deploy/helm/readme.py [--check]`."""

import re
import sys
from pathlib import Path

CHART = Path(__file__).with_name("service")
HEAD = """# The chart of one service

Installed, upgraded and rolled back on its own; `deploy/helm/values/<service>.yaml` are ours, of
about ten lines each. A key that is not in this table is refused. How to use it:
[on Kubernetes](../../../docs/operate.md#on-kubernetes).

| value | default | |
|---|---|---|
"""
LINE = re.compile(r"( *)([A-Za-z]+):(?: (.*))?$")


def table(values: str) -> str:
    """Return a row for each value that a `# --` comment explains, and for nothing else."""
    rows, parents, said = [], [""], ""
    for line in values.splitlines():
        if line.lstrip().startswith("# --"):
            said = line.split("# -- ", 1)[1]
        elif found := LINE.match(line):
            depth = len(found[1]) // 2
            path = ".".join(filter(None, [*parents[1 : depth + 1], found[2]]))
            parents[depth + 1 :] = [found[2]]
            if said:
                rows.append(f"| `{path}` | {f'`{found[3]}`' if found[3] else ''} | {said} |")
            said = ""
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write it, or say whether it is as it would be written."""
    text = HEAD + table((CHART / "values.yaml").read_text())
    readme = CHART / "README.md"
    if "--check" in sys.argv:
        return int(readme.read_text() != text)
    readme.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
