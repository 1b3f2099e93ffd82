"""The sign-up page as files: built from its sources, served strictly, and light."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from acme.gateway.v1.sign_up_pb2 import STATE_ACCEPTED
from connectrpc.errors import ConnectError
from gateway.__main__ import build
from gateway.page import page
from gateways import sign_up
from processes import Program, free_ports
from seaway.process import Process
from web import Client, a_web_gateway, told

pytestmark = pytest.mark.timeout(120)

WEB = Path(__file__).parents[3] / "services/gateway/web"
ELSEWHERE = re.compile(rb"https?://(?!www\.w3\.org/)[a-z0-9.-]+")


@pytest.fixture
async def http(broker):
    async with a_web_gateway(broker, site=page()) as web, web.http() as http:
        yield http


async def files(http):
    """What a browser loads: the page, and everything that it names."""
    first = await http.get("/")
    named = re.findall(r'(?:src|href)="(/[^"]+)"', first.text)
    return {"/": first} | {name: await http.get(name) for name in named}


async def test_everything_that_the_page_names_is_there(http):
    loaded = await files(http)
    assert {answer.status_code for answer in loaded.values()} == {200}
    kinds = {answer.headers["content-type"].partition(";")[0] for answer in loaded.values()}
    assert kinds == {"text/html", "text/javascript", "text/css", "image/svg+xml"}


async def test_it_is_lighter_than_60_kilobytes(http, capsys):
    loaded = await files(http)
    weight = sum(answer.num_bytes_downloaded for answer in loaded.values())
    with capsys.disabled():
        print(f"\nthe page: {weight / 1000:.1f} kB compressed, {len(loaded)} files")
    assert weight < 60_000


async def test_nothing_comes_from_elsewhere_and_nothing_is_inline(http):
    for answer in (await files(http)).values():
        policy = dict(
            directive.split(" ", 1)
            for directive in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) <= {"'none'", "'self'", "'script'"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
    html = (await http.get("/")).text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", html)
    # Without its script the form sends nothing anywhere; least of all in an address.
    assert (policy["form-action"], '<form id="form" method="post"' in html) == ("'none'", True)
    assert not ELSEWHERE.search((WEB / "../src/gateway/site/index.html").read_bytes())


async def test_files_with_a_hash_are_kept_and_the_page_is_asked_for_again(http):
    loaded = await files(http)
    assert loaded["/"].headers["cache-control"] == "no-cache"
    same = {"if-none-match": loaded["/"].headers["etag"]}
    assert (await http.get("/", headers=same)).status_code == 304
    kept = {n: a.headers["cache-control"] for n, a in loaded.items() if n.startswith("/assets/")}
    assert set(kept.values()) == {"public, max-age=31536000, immutable"}


@pytest.mark.parametrize("path", ["/nothing", "/../page.py", "/%2e%2e/page.py", "/assets/"])
async def test_nothing_else_is_shown(http, path):
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers


async def test_the_page_is_only_read(http):
    assert (await http.head("/")).status_code == 200
    assert (await http.post("/")).status_code == 405


async def test_the_page_is_what_its_sources_say():
    check = [sys.executable, WEB / "build.py", "--check"]
    answer = subprocess.run(check, capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert (answer.returncode, answer.stderr) == (0, "")


async def test_a_gateway_is_not_ready_before_its_web_port_is():
    process = Process("gateway")
    build(process)
    assert await process.health.ready["web port"]() == "not ready"


async def test_a_gateway_that_is_told_to_stop_sends_its_browsers_elsewhere(
    server, broker, tmp_path, request_id
):
    grpc, web, metrics = free_ports(3)
    told_to = {
        "SEAWAY_NATS_URL": server.url,
        "SEAWAY_GRPC_PORT": str(grpc),
        "SEAWAY_WEB_PORT": str(web),
    }
    async with Program("gateway", told_to, tmp_path, metrics) as gateway:
        await gateway.ready(within=60)
        updates = Client.at(f"http://127.0.0.1:{web}").call("SignUp", sign_up(request_id))
        assert (await anext(updates)).state == STATE_ACCEPTED
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectError) as caught:
            await anext(updates)
        assert told(caught.value).reason == "RESUME"
        assert await gateway.process.wait() == 0
