"""Write each chart's README from its values.yaml: `python deploy/helm/readme.py [--check]`."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
TABLE = """
| value | default | |
|---|---|---|
"""
HEADS = {
    "service": """# The chart of one service

Installed, upgraded and rolled back on its own; `deploy/helm/values/<service>.yaml` are ours, of
about ten lines each. A key that is not in this table is refused. How to use it:
[on Kubernetes](../../../docs/operate.md#on-kubernetes).
""",
    "backbone": """# The chart of what services stand on

The broker, who may do what there, and the monitor. Installed as release `seaway`, it makes the
Secrets that `deploy/helm/values/<service>.yaml` name. A key that is not in this table is refused.
How to use it: [on Kubernetes](../../../docs/operate.md#on-kubernetes).
""",
    "seaway": """# The chart of a whole system

    helm install seaway deploy/helm/seaway --wait
    helm test seaway

The broker, the monitor and five services in one release: the charts `backbone` and `service`, to
which `charts/` leads. Without any values it is the quickstart; `profiles/` has two others. A key
that is not in these tables is refused. How to use it:
[on Kubernetes](../../../docs/operate.md#on-kubernetes).
""",
}
LINE = re.compile(r"( *)([A-Za-z-]+):(?: (.*))?$")


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


def readme(chart: str) -> str:
    """Return the README of one of the charts."""
    return HEADS[chart] + TABLE + table((HERE / chart / "values.yaml").read_text())


def main() -> int:
    """Write them, or say whether they are as they would be written."""
    texts = {HERE / chart / "README.md": readme(chart) for chart in HEADS}
    if "--check" in sys.argv:
        return int(any(path.read_text() != text for path, text in texts.items()))
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
