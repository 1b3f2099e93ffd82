"""The headline in README.md, made of what one run has measured: no figure is copied by hand."""

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- make bench -->\n", "<!-- end -->\n"
ROWS = {
    "A.faststream_idiomatic.postgresql": "Consume, write, publish: against FastStream, idiomatic",
    "A.faststream_best.postgresql": "… against FastStream at its best, in batches",
    "A.limit.postgresql": "… against the limit: by hand, for this job only",
    "B.twin.clients_64": "Sign-ups end to end, 64 clients: against a gRPC server that inserts",
    "B.unary.clients_64": "… against the same with one answer instead of a stream",
    "B.fastapi.clients_64": "… against FastAPI with SQLModel",
    "B.latency.p50.clients_1": "Latency of one client, median (less is better)",
}
ABSOLUTE = {
    "C.user_creation": "180,000 requests waiting: caught up after",
    "E.first_confirmed": "`make dev` to the first confirmed sign-up",
}


def shown(entries):
    """Return the headline as a table."""
    found = {each["name"]: each for each in entries}
    rows = [
        f"| {text} | **{found[name]['ratio']:.2f} ×** | {span(found[name])} |"
        for name, text in ROWS.items()
    ]
    rows += [
        f"| {text} | **{found[name]['ours']:.1f} {found[name]['unit']}** | {span(found[name])} |"
        for name, text in ABSOLUTE.items()
    ]
    machine = found[next(iter(ROWS))]["machine"]
    return "\n".join(["| | | least to most |", "|---|--:|--:|", *rows, "", f"On {machine}.", ""])


def span(each):
    return f"{each['min']:.2f} to {each['max']:.2f}"


def renew(entries, readme=README):
    """Put the table between the two marks, if these are all of its figures; else it stays."""
    if not {*ROWS, *ABSOLUTE} <= {each["name"] for each in entries}:
        return
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{shown(entries)}\n{END}{after}")
