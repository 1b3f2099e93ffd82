"""What came out: a table for people, a list of figures for programs."""

import json
from datetime import UTC, datetime

from rounds import cpu, middle


def table(figures):
    """The figures as lines, with the CPU seconds that they took."""
    head = f"{'':<36}{'ours':>12}{'peer':>12}  {'unit':<11}{'ratio':>7}  {'min to max':<20}target"
    return [head, *(line for figure in figures for line in lines(figure))]


def lines(figure):
    """One figure: a line, and what has to be known about it."""
    peer = f"{middle(figure.peer):,.1f}" if figure.peer else "-"
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else "-"
    span = f"{min(figure.each):,.2f} to {max(figure.each):,.2f}" if figure.each else "-"
    yield (
        f"{figure.name:<36}{middle(figure.ours):>12,.1f}{peer:>12}  {figure.unit:<11}"
        f"{ratio:>7}  {span:<20}{target(figure)}"
    )
    for note in figure.notes:
        yield f"    ! {note}"


def target(figure):
    """What was wanted, and whether it came to that."""
    if figure.target is None:
        return ""
    sign = "≤" if figure.less_is_better else "≥"
    said = {True: "reached", False: "MISSED", None: "not measured"}[figure.met]
    return f"{sign} {figure.target:g} {said}"


def spent(figures):
    """CPU seconds for a thousand sign-ups, process by process: the cores are shared."""
    seen = {}
    for figure in figures:
        story, _, rest = figure.name.partition(".")
        where = rest.rpartition(".")[2]
        peer = rest.rpartition(".")[0] or "peer"
        seen.setdefault(f"{story}.ours.{where}", cpu(figure.ours))
        seen.setdefault(f"{story}.{peer}.{where}", cpu(figure.peer))
    for name, each in seen.items():
        if each:
            parts = "  ".join(f"{process} {used:.2f}" for process, used in each.items())
            yield f"{name:<36}{sum(each.values()):>7.2f}   {parts}"


def entry(figure, machine, versions):
    """One figure as the JSON file has it."""
    rounded = [round(value, 3) for value in figure.each]
    return {
        "name": figure.name,
        "ours": round(middle(figure.ours), 3),
        "peer": round(middle(figure.peer), 3) if figure.peer else None,
        "ratio": round(figure.ratio, 3) if figure.ratio is not None else None,
        "target": figure.target,
        "min": min(rounded, default=None),
        "max": max(rounded, default=None),
        "rounds": len(figure.ours),
        "unit": figure.unit,
        "better": "less" if figure.less_is_better else "more",
        "met": figure.met,
        "notes": figure.notes,
        "cpu_seconds_per_1000": {"ours": cpu(figure.ours), "peer": cpu(figure.peer)},
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions,
    }


def merged(path, entries):
    """Write the entries into a file, beside those of other figures; return all, by name."""
    known = json.loads(path.read_text()) if path.exists() else []
    every = {each["name"]: each for each in [*known, *entries]}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(each, ensure_ascii=False) for each in every.values())
    path.write_text(f"[\n{text}\n]\n")
    return list(every.values())
