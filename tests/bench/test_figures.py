"""What the bench makes of what it measured; that it can measure at all, its smoke run shows."""

import ast
import json
from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def _the_bench_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def a_figure(ours, peer=(), **more):
    rounds = import_module("rounds")
    samples = [[rounds.Sample(value) for value in values] for values in (ours, peer)]
    return rounds.Figure("A.limit.sqlite", "/s", *samples, **more)


def entries(*figures):
    return [import_module("report").entry(figure, "2 cores", {}) for figure in figures]


def test_a_ratio_is_of_medians_and_its_span_is_round_by_round():
    [entry] = entries(a_figure([10.0, 30.0, 20.0], [10.0, 10.0, 40.0], target=2.0))
    assert (entry["ours"], entry["peer"], entry["ratio"]) == (20.0, 10.0, 2.0)
    assert (entry["min"], entry["max"], entry["rounds"]) == (0.5, 3.0, 3)
    assert entry["met"] is True


def test_without_a_peer_the_span_is_of_our_own_figures():
    [entry] = entries(a_figure([3.0, 1.0, 2.0], target=1.5, less_is_better=True))
    assert (entry["peer"], entry["ratio"]) == (None, None)
    assert (entry["ours"], entry["min"], entry["max"], entry["met"]) == (2.0, 1.0, 3.0, False)


@pytest.mark.parametrize(("side", "broken"), [("ours", True), ("peer", False)])
def test_only_what_is_wrong_with_ours_is_broken(side, broken):
    figure = a_figure([1.0], [1.0])
    getattr(figure, side)[0].wrong.append("3 of 9 lost")
    assert figure.is_broken is broken
    assert figure.notes == [f"{side}: 3 of 9 lost"]


@pytest.mark.parametrize(
    ("answered", "confirmed", "rows", "said"),
    [
        (200, 198, 198, []),
        (199, 197, 198, ["1 of 200 lost", "197 confirmed and 198 rows, not 198"]),
        (201, 199, 198, ["201 outcomes of 200 requests", "199 confirmed and 198 rows, not 198"]),
        (200, 198, 197, ["198 confirmed and 197 rows, not 198"]),
    ],
)
def test_lost_and_doubled_work_is_seen(monkeypatch, answered, confirmed, rows, said):
    monkeypatch.syspath_prepend(str(ROOT / "tests/support"))
    assert import_module("a_consume").wrong(200, answered, confirmed, rows) == said


async def test_sides_take_turns_and_warm_up_does_not_count():
    rounds, turns = import_module("rounds"), []

    def side(name):
        async def measure():
            turns.append(name)
            return rounds.Sample(float(len(turns)))

        return measure

    sides = {name: side(name) for name in "AB"}
    samples = await rounds.interleaved(sides, 2, lambda line: None, within=60.0)
    assert turns == list("ABABAB")
    assert [sample.value for sample in samples["A"]] == [3.0, 5.0]


async def test_there_is_one_round_however_long_it_takes():
    rounds, said = import_module("rounds"), []

    async def measure():
        return rounds.Sample(1.0)

    samples = await rounds.interleaved({"A": measure}, 5, said.append, within=-1.0, warm_up=0)
    assert len(samples["A"]) == 1
    assert "1 rounds instead of 5" in said[-1]


def test_figures_that_were_not_measured_again_stay(tmp_path):
    report, path = import_module("report"), tmp_path / "results.json"
    old = {"name": "C.crm", "ours": 7.0}
    path.write_text(json.dumps([old, {"name": "A.limit.sqlite", "ours": 1.0}]))
    [new] = entries(a_figure([2.0], [1.0]))
    assert report.merged(path, [new]) == [old, new]
    assert json.loads(path.read_text()) == [old, new]


def test_the_headline_stands_between_two_marks(tmp_path):
    readme, path = import_module("readme"), tmp_path / "README.md"
    path.write_text((ROOT / "README.md").read_text())
    [entry] = entries(a_figure([2.0], [1.0]))
    names = [*readme.ROWS, *readme.ABSOLUTE]
    for _ in range(2):
        readme.renew([{**entry, "name": name} for name in names], path)
    lines = path.read_text().splitlines()
    assert lines.count("<!-- make bench -->") == lines.count("<!-- end -->") == 1
    assert sum("**2.00 ×**" in line for line in lines) == len(readme.ROWS)
    after = (ROOT / "README.md").read_text().partition("<!-- end -->")[2]
    assert path.read_text().endswith(after)


def test_a_run_that_measured_a_part_leaves_the_headline_as_it_is(tmp_path):
    readme, path = import_module("readme"), tmp_path / "README.md"
    path.write_text(before := (ROOT / "README.md").read_text())
    [entry] = entries(a_figure([2.0], [1.0]))
    names = [*readme.ROWS, *readme.ABSOLUTE]
    for name in names:
        readme.renew([{**entry, "name": each} for each in names if each != name], path)
        assert path.read_text() == before


def test_a_plot_shows_how_much_better_also_where_less_is():
    plot = import_module("plot")
    [entry] = entries(a_figure([5.0], [10.0], target=2.5, less_is_better=True))
    assert plot.goodness(entry, entry["ratio"]) == 2.0
    assert plot.bars([entry]).count('class="ours"') == 1
    assert 'class="missed"' in plot.bars([{**entry, "met": False}])


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.py")), ids=lambda path: path.name)
def test_the_bench_is_as_short_as_what_it_measures(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, functions)]
    assert {n.name for n in nodes if n.end_lineno - n.body[0].lineno >= 40} == set()
    assert len(path.read_text().splitlines()) <= 300
