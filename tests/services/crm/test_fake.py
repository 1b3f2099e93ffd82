"""The fake CRM has HubSpot's manners, or a test against it would prove nothing."""

import asyncio
import os
import signal
import sys

import httpx
import pytest
from crm.fake import FakeCrm, Faults, serving

UPSERT = "/crm/objects/2026-03/contacts/batch/upsert"
LIST = "/crm/objects/2026-03/contacts"


def given(email, trace="", **properties):
    return {
        "id": email,
        "idProperty": "email",
        "objectWriteTraceId": trace or email,
        "properties": {"email": email, **properties},
    }


@pytest.fixture
async def client(fake):
    headers = {"authorization": "Bearer fake"}
    async with httpx.AsyncClient(base_url=fake.url, headers=headers) as client:
        yield client


async def upsert(client, *inputs):
    return await client.post(UPSERT, json={"inputs": inputs})


async def test_one_address_is_one_contact_however_it_is_written(fake, client):
    first = await upsert(client, given("Ada@Example.org", firstname="Ada", city="Paris"))
    again = await upsert(client, given("ada@example.org", firstname="Ada L."))
    assert [r["new"] for r in first.json()["results"] + again.json()["results"]] == [True, False]
    [contact] = fake.contacts.values()
    assert contact["properties"] == {
        "email": "ada@example.org",
        "firstname": "Ada L.",
        "city": "Paris",
    }
    assert (fake.calls["upserted"], fake.calls["created"]) == (2, 1)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [given(f"{n}@example.org") for n in range(101)],
        [given("a@example.org", "1"), given("A@example.org", "2")],
        [given("a@example.org", "1"), given("b@example.org", "1")],
        [given("a@example.org"), given("no address")],
        [given("a@example.org") | {"idProperty": "hs_object_id"}],
    ],
    ids=["none", "101", "an address twice", "a trace twice", "no address", "another key"],
)
async def test_it_refuses_all_for_one_and_does_nothing(fake, client, inputs):
    assert (await upsert(client, *inputs)).status_code == 400
    assert fake.contacts == {}


async def test_nobody_gets_in_without_the_token(fake, client):
    client.headers["authorization"] = "Bearer other"
    assert (await upsert(client, given("a@b.org"))).status_code == 401
    assert fake.contacts == {}


async def test_more_than_its_limit_is_too_often():
    async with serving(FakeCrm(limit=5)) as fake, httpx.AsyncClient(base_url=fake.url) as client:
        client.headers["authorization"] = "Bearer fake"
        answers = [await client.get(LIST) for _ in range(8)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 3
    assert answers[-1].json()["policyName"] == "TEN_SECONDLY_ROLLING"


async def test_contacts_are_listed_page_by_page(fake, client):
    await upsert(client, *(given(f"{n}@example.org", firstname=str(n)) for n in range(5)))
    asked = {"limit": "2", "properties": "firstname"}
    seen = []
    while True:
        page = (await client.get(LIST, params=asked)).json()
        seen += [each["properties"] for each in page["results"]]
        if "paging" not in page:
            break
        asked["after"] = page["paging"]["next"]["after"]
    assert seen == [{"firstname": str(n)} for n in range(5)]


async def test_faults_are_switched_over_http_and_pass(fake, client):
    told = {"status": 429, "retry_after": "7", "times": 1}
    assert (await client.put("/faults", json=told)).status_code == 200
    refused = await client.get(LIST)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert (await client.get(LIST)).status_code == 200


@pytest.mark.parametrize("told", [{"colour": "red"}, [], "no"], ids=str)
async def test_a_switch_that_it_does_not_have_is_refused(fake, client, told):
    assert (await client.put("/faults", json=told)).status_code == 400
    assert fake.faults == Faults()


@pytest.mark.parametrize(("when", "contacts"), [("before", 0), ("after", 1)])
async def test_a_disconnect_leaves_in_the_dark_what_was_done(fake, client, when, contacts):
    fake.faults = Faults(disconnect=when)
    with pytest.raises(httpx.RemoteProtocolError):
        await upsert(client, given("a@b.org"))
    assert len(fake.contacts) == contacts


async def test_what_it_refuses_of_a_batch_is_named(fake, client):
    fake.faults = Faults(partial={"bad": "VALIDATION_ERROR"})
    answer = await upsert(client, given("good@b.org"), given("bad@b.org", "trace-bad"))
    assert answer.status_code == 207
    assert answer.json()["errors"][0]["context"] == {"objectWriteTraceId": ["trace-bad"]}
    assert list(fake.contacts) == ["good@b.org"]


async def test_a_page_shows_contacts_as_text(fake, client):
    await upsert(client, given("a@b.org", firstname="<script>alert(1)</script>"))
    page = (await client.get("/")).text
    assert "1 contacts" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


async def test_its_contacts_outlive_it(tmp_path, confirmed):
    file = tmp_path / "folder/contacts.jsonl"
    async with serving(FakeCrm(file=file)) as fake, httpx.AsyncClient(base_url=fake.url) as client:
        client.headers["authorization"] = "Bearer fake"
        for name in ("Ada", "Ada II"):
            await upsert(client, given("a@b.org", firstname=name))
    again = FakeCrm(file=file)
    assert again.contacts == fake.contacts
    assert again.contacts["a@b.org"]["properties"]["firstname"] == "Ada II"


@pytest.mark.slow
async def test_it_is_a_program(tmp_path):
    async def started(*arguments):
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crm.fake", *arguments),
            cwd=tmp_path,
            env={**os.environ, "SEAWAY_CRM_PORT": "0"},
            stdout=asyncio.subprocess.PIPE,
        )

    async with asyncio.timeout(30):
        process = await started("--prepare")
        url = (await process.stdout.readline()).decode().split()[-1]
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/readyz")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        listens_to = await started("topology", "show")
        assert await listens_to.communicate() == (b"", None)
