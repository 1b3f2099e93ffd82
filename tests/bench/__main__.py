"""make bench: Seaway beside what people would write instead, on the same work, in one run.

make bench                          the headline
make bench-full                     everything
make bench-smoke                    small, and only to see that nothing is broken
make bench ARGS='--only A --rounds 3 --requests 5000 --no-report'
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import a_consume
import a_overhead
import b_end_to_end
import b_latency
import b_stall
import c_catch_up
import d_watchers
import e_start
import f_growth
import in_memory
from machine import load, machine, versions
from plan import FULL, HEADLINE, SMOKE
from plot import bars
from programs import Failed
from readme import renew
from report import entry, merged, spent, table
from seaway.telemetry import configure_logging
from stores import stores

DOCS = Path(__file__).parents[2] / "docs/bench"
PLANS = {plan.name: plan for plan in (HEADLINE, FULL, SMOKE)}
STORIES = {
    "A": a_consume.story,
    "overhead": a_overhead.story,
    "B": b_end_to_end.story,
    "latency": b_latency.story,
    "stall": b_stall.story,
    "C": c_catch_up.story,
    "D": d_watchers.story,
    "E": e_start.story,
    "F": f_growth.story,
    "memory": in_memory.story,
}
BROKEN = 1
CUT_OFF = 3


def say(line):
    """Tell how it goes."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def chosen():
    """The plan that was asked for, and whether its figures are kept."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("plan", choices=PLANS, nargs="?", default="headline")
    parser.add_argument("--only", help="some stories: A,B")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--backlog", type=int)
    parser.add_argument("--clients", help="1,64")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--watchers", type=int)
    parser.add_argument("--stored", help="10000,1000000,10000000: also hours of patience")
    parser.add_argument("--no-report", action="store_true", help="keep no figure")
    options = parser.parse_args()
    plan = PLANS[options.plan]
    sizes = ("rounds", "requests", "seconds", "backlog", "watchers", "minutes")
    given = {size: value for size in sizes if (value := getattr(options, size)) is not None}
    if options.only:
        given["stories"] = tuple(options.only.split(","))
    if options.clients:
        given["clients"] = tuple(map(int, options.clients.split(",")))
    if options.stored:
        given["stored"] = tuple(map(int, options.stored.split(",")))
    # Docs and README say how much was measured: figures of another size are not for them.
    usual = not set(sizes[:-1]) & given.keys() and plan is not SMOKE
    return replace(plan, **given), usual and not options.no_report


async def measured(plan, figures):
    """Measure one story after the other, adding to the figures as they come."""
    for name in plan.stories:
        with stores() as databases:
            async for figure in STORIES[name](plan, databases, say):
                figures.append(figure)


async def run(plan, keep):
    """Measure, and report what there is, even after Ctrl-C; return the exit code."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    here, of = await asyncio.to_thread(machine), versions()
    say(f"{plan.name}: {', '.join(plan.stories)} on {here}")
    if load() > 0.5:
        say(f"! the machine was busy (load {load():.1f}): these are no figures to keep")
    figures, code = [], 0
    try:
        async with asyncio.timeout(plan.minutes * 60) as limit:
            await measured(plan, figures)
    except TimeoutError:
        if not limit.expired():
            raise
        say(f"! cut off after {plan.minutes:g} minutes")
        code = CUT_OFF
    except Failed as failed:
        say(f"! {failed}")
        code = BROKEN
    finally:
        report(plan, figures, here, of, keep)
    return code or BROKEN * any(figure.is_broken for figure in figures)


def report(plan, figures, here, of, keep):
    """Print the tables; keep the figures beside those of earlier runs.

    README's headline is of this run alone, or stays as it is.
    """
    print("\n".join(["", *table(figures), "", "CPU seconds per 1,000", *spent(figures)]))
    folder = DOCS if keep else Path(tempfile.gettempdir()) / "seaway-bench"
    measured = [entry(figure, here, of) for figure in figures]
    known = merged(folder / "results.json", measured)
    (folder / "results.svg").write_text(bars(known))
    if keep:
        renew(measured)
    print(f"\nin {folder}: results.json, results.svg")


if __name__ == "__main__":
    configure_logging("bench", "error", "console")
    try:
        sys.exit(asyncio.run(run(*chosen())))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
