"""F18: every process is replaced, one at a time, while people sign up."""

from runner import Run
from sign_ups import errors_of

SOFT = {"UNAVAILABLE", "CANCELLED"}
"""What a client tries again, as ours do (docs/other-languages.md). CANCELLED is not what we mean.
gRPC's core says it (grpc/grpc#41785) of calls that come in the few milliseconds in which a server
stops. Tried with a bare server: none of 245 had reached a handler, and neither to refuse calls for
50 or 300 ms before the stop nor to wait until a call of our own was answered made an end of it.
"""
SLOW = {"DEADLINE_EXCEEDED"}
"""What a client tries again, too. It is a figure of time."""


async def test_a_rolling_restart_fails_no_call_for_good(tmp_path, store, goal, size, capsys):
    rolls, in_hand, exits = size(smoke=1, full=10), 0, []
    async with Run(tmp_path, store, gateways=2, workers=2) as run:
        async with run.load(per_second=size(smoke=15, full=50)) as load:
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
