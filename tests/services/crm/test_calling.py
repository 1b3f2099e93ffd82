"""Calls that are too many, too slow, too large, or by somebody whom the CRM does not know."""

import logging

import pytest
from crm import calling
from crm.calling import Answer, Calls, Token
from crm.fake import Faults
from crm.pace import Pace
from seaway.errors import DependencyDown
from seaway.testing import running

LIST = "/crm/objects/2026-03/contacts"


class Naps:
    """Sleeps that last no time, and are remembered."""

    def __init__(self):
        self.all = []
        self.now = 0.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.all.append(seconds)
        self.now += seconds


@pytest.fixture
def naps(monkeypatch):
    naps = Naps()
    monkeypatch.setattr(calling, "monotonic", naps)
    return naps


@pytest.fixture
async def hurried(fake, naps):
    async with Calls(fake.url, Token("fake"), Pace(100_000, naps, naps.sleep)) as calls:
        yield calls


@pytest.mark.parametrize(("said", "waits"), [("2", 2), ("", 10), ("soon", 10), ("-3", 10)])
async def test_who_is_told_too_often_waits_as_long_as_it_is_said(fake, hurried, naps, said, waits):
    fake.faults = Faults(status=429, retry_after=said, times=1)
    assert (await hurried.ask("GET", LIST)).status == 200
    assert sum(naps.all) == pytest.approx(waits, abs=0.1)
    assert fake.calls == {"429": 1, "200": 1}


@pytest.mark.parametrize("retry_after", ["3600", "20"])
async def test_a_long_pause_is_an_outage_and_nobody_calls_meanwhile(
    fake, hurried, naps, retry_after
):
    fake.faults = Faults(status=429, retry_after=retry_after, times=1)
    for _ in range(5):
        with pytest.raises(DependencyDown):
            await hurried.ask("GET", LIST)
        naps.now += 1
    assert fake.calls == {"429": 1}
    assert naps.all == []


async def test_the_limit_of_a_day_is_a_long_pause():
    told = Answer(429, {}, b'{"errorType": "RATE_LIMIT", "policyName": "DAILY"}')
    assert told.pause == 60.0


async def test_one_who_is_told_so_again_and_again_gives_up_after_twelve_seconds(
    fake, hurried, naps
):
    fake.faults = Faults(status=429, retry_after="5")
    with pytest.raises(DependencyDown):
        await hurried.ask("GET", LIST)
    assert fake.calls["429"] == 3
    assert naps.now == pytest.approx(10, abs=0.1)


async def test_a_batch_that_has_to_wait_is_not_torn_apart(quick, fake, confirmed):
    fake.faults = Faults(status=429, retry_after="1", times=1)
    async with running(quick) as system:
        await system.send(*(confirmed() for _ in range(60)))
    assert fake.calls["upserted"] == len(system.published) == 60
    assert fake.calls["200"] <= 2


async def test_an_answer_has_five_seconds(fake, calls, monkeypatch):
    fake.faults = Faults(seconds=0.2, times=1)
    with monkeypatch.context() as patch:
        patch.setattr(calling, "ANSWER_WITHIN", 0.05)
        with pytest.raises(DependencyDown, match="TimeoutError"):
            await calls.ask("GET", LIST)
    assert (await calls.ask("GET", LIST)).status == 200


async def test_nobody_there_is_an_outage():
    async with Calls("http://127.0.0.1:9", Token("t"), Pace(100)) as calls:
        with pytest.raises(DependencyDown, match="ConnectError"):
            await calls.ask("GET", LIST)


async def test_an_answer_has_a_megabyte(fake, calls):
    fake.faults = Faults(padding=900_000)
    assert (await calls.ask("GET", LIST)).status == 200
    fake.faults = Faults(padding=1_000_000)
    with pytest.raises(DependencyDown, match="more than 1000000 bytes"):
        await calls.ask("GET", LIST)


async def test_a_token_is_read_again_when_its_file_changes(fake, tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    async with Calls(fake.url, Token(file=file), Pace(100)) as calls:
        assert (await calls.ask("GET", LIST)).status == 401
        file.write_text("fake\n")
        assert (await calls.ask("GET", LIST)).status == 200


@pytest.mark.parametrize("content", [None, b"", b"two words", b"a\r\nX-Header: b", b"\xff", b"\0"])
async def test_a_file_without_a_token_is_an_outage_and_says_nothing_of_what_it_holds(
    fake, tmp_path, content
):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    async with Calls(fake.url, Token(file=file), Pace(100)) as calls:
        with pytest.raises(DependencyDown) as refused:
            await calls.ask("GET", LIST)
    assert "words" not in str(refused.value)
    assert fake.calls == {}


async def test_no_log_and_no_error_holds_the_token(fake, quick, confirmed, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    fake.token, fake.faults = "another", Faults()
    async with running(quick) as system:
        await system.broker.publish([])
        with pytest.raises(TimeoutError):
            await system.send(confirmed("ada@example.org"), within=0.2)
        fake.token = "fake"
        await system.settled()
    said = capsys.readouterr().out + caplog.text
    assert "DependencyDown" in said
    assert "Bearer" not in said
    assert "ada@" not in said
    assert "fake" not in repr(Token("fake"))
