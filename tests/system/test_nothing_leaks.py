"""A whole system, somebody whose name and address are to be found nowhere, and a taken address."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import grpc
import httpx
import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceStub
from acme.users.v1 import CreateUserRequested
from refused import refused
from seaway.envelope import Envelope
from seaway.jetstream import JetStream
from waiting import until
from web import JSON, PATH, framed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CANARY = "zqcanary"
"""In every personal field, and in nothing else."""
EMAIL, NAME = f"{CANARY}@{CANARY}.example", f"{CANARY} of the mine"
AUDITED = (9102, 9103, 9104, 9105)
OPEN = (9101, *AUDITED, 9106, 9107)


def asked(system, port, path):
    with urlopen(f"http://127.0.0.1:{system.port(port)}{path}", timeout=30) as answer:
        return answer.read().decode()


def a_request(**fields):
    whole = {"request_id": str(uuid4()), "email": EMAIL, "display_name": NAME, "locale": "en"}
    return api.SignUpRequest(**whole | {"until": api.STATE_EMAILED} | fields)


async def heard(call):
    """Everything that a call says: its headers, its messages, and its end."""
    updates = [update async for update in call]
    return {
        "headers": list(await call.initial_metadata()),
        "updates": updates,
        "end": (await call.code(), await call.details(), list(await call.trailing_metadata())),
    }


def without_ids(update):
    """What is left when ids and times are: each is there."""
    assert update.at.seconds
    kept = api.SignUpUpdate()
    kept.CopyFrom(update)
    for field in ("request_id", "at"):
        kept.ClearField(field)
    return kept.SerializeToString()


async def by_grpc(system, request):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.port(50051)}") as channel:
        stub = SignUpServiceStub(channel)
        told = [await heard(stub.SignUp(request, timeout=60))]
        watch = api.WatchSignUpRequest(request_id=request.request_id, until=api.STATE_EMAILED)
        told.append(await heard(stub.WatchSignUp(watch, timeout=60)))
        asked = await stub.GetSignUp(api.GetSignUpRequest(request_id=request.request_id))
    for each in told:
        each["updates"] = [without_ids(update) for update in each["updates"]]
    return [*told, without_ids(asked)]


async def by_web(system, request):
    """Every byte of an answer in JSON, but for what ids and times are made of."""
    asked = {"requestId": request.request_id, "email": request.email, "until": "STATE_EMAILED"}
    asked |= {"displayName": request.display_name, "locale": request.locale}
    kind = {"content-type": "application/connect+json"}
    async with httpx.AsyncClient(timeout=60) as http:
        url = f"http://127.0.0.1:{system.port(8080)}{PATH}"
        answer = await http.post(f"{url}/SignUp", content=framed(asked), headers=kind)
        one = await http.post(
            f"{url}/GetSignUp", json={"requestId": request.request_id}, headers=JSON
        )
    told = [re.sub(SECRET, b"", said.content) for said in (answer, one)]
    forms = [
        (said.status_code, sorted(h for h in said.headers.items() if h[0] not in VARIES))
        for said in (answer, one)
    ]
    return told, forms


VARIES = {"date", "content-length"}
"""A time may have fewer digits than the one before."""
SECRET = rb'"(requestId|at)": ?"[^"]*"|\0\0\0\0.'
"""… and so the length of the message that it is in, which is in front of it."""


@pytest.mark.parametrize("way", [by_grpc, by_web])
async def test_a_taken_address_and_a_new_one_look_the_same_from_outside(system, way):
    local = uuid4().hex
    new, taken = (
        a_request(email=f"{local}@example.org"),
        a_request(email=f"{local.upper()}@example.org"),
    )
    assert await way(system, new) == await way(system, taken)
    other = a_request(email=f"{uuid4().hex}@example.org")
    revealed = a_request(email=new.email, reveal_taken=True)
    assert (await by_grpc(system, other))[0] != (await by_grpc(system, revealed))[0]


async def somebody_signs_up(system):
    """New, again, with mistakes, and as a poison that breaks the rules; return what was said."""
    said = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.port(50051)}") as channel:
        stub = SignUpServiceStub(channel)
        first = a_request()
        for request in (first, a_request()):
            said += await by_grpc(system, request)
        wrong = [
            a_request(email=f"{CANARY} at {CANARY}.example", display_name=CANARY * 20),
            a_request(email=f"{CANARY}@-{CANARY}.example"),
            a_request(request_id=first.request_id, display_name=f"another {CANARY}"),
        ]
        for request in wrong:
            with refused() as told:
                await stub.SignUp(request).read()
            said.append(told)
    async with httpx.AsyncClient(timeout=60) as http:
        url = f"http://127.0.0.1:{system.port(8080)}{PATH}/GetSignUp"
        for body in (f'{{"requestId": ["{CANARY}"]}}', CANARY, f'{{"{CANARY}'):
            said.append((await http.post(url, content=body, headers=JSON)).text)
    return said


async def poisoned(broker):
    """Publish what no gateway would; return once it is set aside."""
    body = CreateUserRequested(request_id=str(uuid4()), email=EMAIL, display_name=NAME)
    posting = Envelope.opening(body, source="nobody").posting()
    await broker.publish([replace(posting, data=b"\x0a\xff" + posting.data)])

    async def set_aside():
        return [letter async for letter in broker.scan("DEAD", "dead.>")]

    await until(set_aside)


async def everything_stored(system):
    """Have somebody set aside, wait until all is accounted for; return messages and letters."""
    async with JetStream(f"nats://127.0.0.1:{system.port(4222)}", "test") as broker:
        await broker.connected()
        await poisoned(broker)

        async def audited():
            told = await asyncio.to_thread(system.seaway, "audit")
            return told.returncode == 0

        await until(audited, within=90)
        return [
            [message async for message in broker.scan(stream, ">")] for stream in ("USERS", "DEAD")
        ]


def everything_said(system, stored, dead):
    """What operators, other services and logs get to see, by where that is."""
    range_of = f"/audit?stream=USERS&from=1&to={stored[-1].sequence}"
    commands = [("dead-letters", "list"), ("dead-letters", "show", "1")]
    commands.append(("trace", stored[-1].headers["ce-correlationid"]))
    told = [system.seaway(*each) for each in commands]
    return {
        "logs": [line for line in system.lines if " | " in line],
        "subjects and headers": [(m.subject, dict(m.headers)) for m in (*stored, *dead)],
        "metrics": [asked(system, port, "/metrics") for port in OPEN],
        "health": [asked(system, port, "/readyz") for port in OPEN],
        "audit": [asked(system, port, range_of) for port in AUDITED],
        "commands": [each.stdout + each.stderr for each in told],
    }


async def test_what_is_personal_is_nowhere_but_in_bodies_mails_and_databases(system):
    answers = await somebody_signs_up(system)
    stored, dead = await everything_stored(system)
    places = await asyncio.to_thread(everything_said, system, stored, dead)
    places["answers"] = answers
    # The canary sings where it may, so it would be heard elsewhere, too.
    assert {"UNDECODABLE"} == {message.headers["seaway-reason"] for message in dead}
    assert sum(CANARY.encode() in m.data for m in stored) >= 4
    assert any(CANARY.encode() in m.data for m in dead)
    kept = [path.read_bytes() for path in (system.folder / ".seaway").glob("user-creation.db*")]
    assert any(CANARY.encode() in content for content in kept)
    for place, things in places.items():
        assert things, place
        assert CANARY not in json.dumps(things, default=repr).lower(), place
