"""F18: every process is replaced, one at a time, while people sign up."""

from runner import Run
from sign_ups import errors_of

SOFT = {"UNAVAILABLE", "CANCELLED"}
"""What a client tries again. CANCELLED is not what we mean: one of a hundred refusals, of calls
that came in just as the server stopped and that no code of ours has seen."""
SLOW = {"DEADLINE_EXCEEDED"}
"""What a client tries again, too. It is a figure of time."""


async def test_a_rolling_restart_fails_no_call_for_good(tmp_path, store, goal, size, capsys):
    rolls, in_hand, exits = size(smoke=1, full=10), 0, []
    async with Run(tmp_path, store, gateways=2, workers=2) as run:
        async with run.load(per_second=50) as load:
            for _ in range(rolls):
                for program in run.system.programs:
                    in_hand += await load.caught()
                    run.fault(f"{program.name} replaced")
                    exits.append(await program.stop())
                    await program.start()
                    await program.ready()
        accepted = await run.check()
    refused = errors_of(run.history)
    hard = sum(count for code, count in refused.items() if code not in SOFT | SLOW)
    met = not SLOW & refused.keys()
    with capsys.disabled():
        print(f"\n  {run.summary()}")
    assert accepted == len(run.history)
    assert exits == [0] * 4 * rolls
    assert hard == 0, refused
    name, least = "R14 calls that failed for good in rolls", 4 * rolls
    goal(name, hard, "0", hits=in_hand, least=least, met=met)
