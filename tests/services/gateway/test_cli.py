"""`seaway sign-up`, as a person or a script uses it: the real command against a real gateway."""

import asyncio
import json
import shlex
import signal

import pytest
from acme.users.v1 import CreateUserRequested, SignUpEmailHandled
from gateways import CancelsOnce, a_gateway, confirmed, rejected, say, until
from seaway.contract import address_of

pytestmark = pytest.mark.timeout(40)

ADA = ("--email", "ada@example.org", "--name", "Ada")


def at(port):
    return ("--target", f"127.0.0.1:{port}")


async def test_it_prints_each_update_as_it_comes(broker, gateway, command, request_id):
    async with command(*ADA, *at(gateway.port), "--request-id", request_id) as ada:
        state, _, shown = (await ada.line()).split()
        assert (state, shown) == ("ACCEPTED", request_id)
        await say(broker, request_id, confirmed(request_id))
        code, [line], complaints = await ada.end()
    assert (code, line.split()[0], complaints) == (0, "CONFIRMED", [])


async def test_it_prints_json_with_the_fields_of_the_proto(broker, gateway, command, request_id):
    asked = ("--request-id", request_id, "--json", "--until", "emailed")
    async with command(*ADA, *at(gateway.port), *asked) as ada:
        first = json.loads(await ada.line())
        assert first["state"] == "STATE_ACCEPTED"
        assert first.keys() == {"request_id", "state", "at", "resume_token"}
        await say(broker, request_id, confirmed(request_id))
        await say(broker, request_id, SignUpEmailHandled(request_id=request_id))
        code, lines, _ = await ada.end()
    states = [json.loads(line)["state"] for line in lines]
    assert (code, states) == (0, ["STATE_CONFIRMED", "STATE_EMAILED"])


async def test_a_taken_address_has_an_exit_code_for_who_asks(broker, gateway, command, request_id):
    asked = ("--request-id", request_id, "--reveal-taken")
    async with command(*ADA, *at(gateway.port), *asked) as ada:
        await ada.line()
        await say(broker, request_id, rejected(request_id))
        code, [line], _ = await ada.end()
    assert (code, line.split()[0], line.split()[-1]) == (4, "REJECTED", "EMAIL_TAKEN")


async def test_it_says_everything_that_is_wrong_one_a_line(gateway, command):
    async with command("--email", "ada", "--name", "", *at(gateway.port)) as ada:
        code, lines, complaints = await ada.end()
    assert (code, lines) == (1, [])
    assert [complaint.split(":")[0] for complaint in complaints] == ["email", "display_name"]


async def test_wrong_usage_is_2(command):
    async with command("--email", "ada@example.org") as ada:
        assert (await ada.end())[0] == 2


async def test_what_is_not_known_in_time_can_be_asked_again_as_printed(
    broker, gateway, command, request_id
):
    personal = ("--email", "o'hara@example.org", "--name", "Ada O'Hara; rm -rf $HOME")
    asked = ("--request-id", request_id, "--locale", "de-AT", "--reveal-taken")
    async with command(*personal, *at(gateway.port), *asked, "--timeout", "2") as ada:
        await ada.line()
        code, _, [sentence, again] = await ada.end()
    assert code == 3
    assert "not known yet" in sentence
    await say(broker, request_id, rejected(request_id))
    words = shlex.split(again)
    assert words[:2] == ["seaway", "sign-up"]
    async with command(*words[2:]) as ada:
        code, lines, complaints = await ada.end()
    assert (code, complaints) == (4, [])
    assert [line.split()[0] for line in lines] == ["ACCEPTED", "REJECTED"]


async def test_where_no_gateway_is_nothing_is_known(command):
    async with command(*ADA, *at(9), "--timeout", "0.5") as ada:
        code, lines, [sentence, again] = await ada.end()
    assert (code, lines) == (3, [])
    assert "no gateway at 127.0.0.1:9" in sentence
    assert "--request-id" in again


async def test_ctrl_c_leaves_with_the_way_to_go_on(gateway, command, request_id):
    async with command(*ADA, *at(gateway.port), "--request-id", request_id) as ada:
        await ada.line()
        ada.process.send_signal(signal.SIGINT)
        code, _, complaints = await ada.end()
    assert code == 3
    assert request_id in complaints[-1]


async def test_it_outlives_its_gateway(broker, command, request_id):
    asked = (*ADA, "--request-id", request_id)
    async with a_gateway(broker) as first, command(*asked, *at(first.port)) as ada:
        await ada.line()
        await first.server.__aexit__(None, None, None)
        async with a_gateway(broker, port=first.port):
            await say(broker, request_id, confirmed(request_id))
            code, lines, complaints = await ada.end()
    assert (code, [line.split()[0] for line in lines], complaints) == (0, ["CONFIRMED"], [])


async def test_it_asks_again_when_its_call_is_cancelled_by_somebody_else(
    broker, command, request_id
):
    asked = (*ADA, "--request-id", request_id)
    async with (
        a_gateway(broker, kind=CancelsOnce) as gateway,
        command(*asked, *at(gateway.port)) as ada,
    ):
        assert (await ada.line()).split()[0] == "ACCEPTED"
        await say(broker, request_id, confirmed(request_id))
        code, lines, complaints = await ada.end()
    assert (code, [line.split()[0] for line in lines], complaints) == (0, ["CONFIRMED"], [])


@pytest.mark.parametrize(
    ("more", "outcome", "ends"),
    [((), confirmed, (0, ["CONFIRMED"])), (("--reveal-taken",), rejected, (4, ["REJECTED"]))],
)
async def test_it_resumes_a_stream_as_often_as_it_takes(
    broker, command, request_id, more, outcome, ends
):
    asked = (*ADA, "--request-id", request_id, *more)
    async with (
        a_gateway(broker, stream_seconds=0.2) as gateway,
        command(*asked, *at(gateway.port)) as ada,
    ):
        await ada.line()
        for _ in range(3):
            await until(lambda: gateway.flow.watching)
            await until(lambda: not gateway.flow.watching)
        await say(broker, request_id, outcome(request_id))
        code, lines, _ = await ada.end()
    assert (code, [line.split()[0] for line in lines]) == ends


async def test_while_the_broker_is_away_it_asks_again(
    server, broker, gateway, command, request_id
):
    await server.kill()
    async with command(*ADA, *at(gateway.port), "--request-id", request_id) as ada:
        waiting = asyncio.create_task(ada.line())
        done, _ = await asyncio.wait({waiting}, timeout=2)
        assert not done
        await server.start()
        assert (await waiting).split()[0] == "ACCEPTED"
        await say(broker, request_id, confirmed(request_id))
        assert (await ada.end())[0] == 0
    subject = address_of(CreateUserRequested).subject_for(request_id)
    assert (await broker.read("USERS", subject)) is not None
