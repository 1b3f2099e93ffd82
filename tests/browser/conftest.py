"""A real Chromium, and the whole system that its pages come from."""

import shutil
from pathlib import Path

import pytest
from browsers import CHROMIUM, FLAGS, PATIENCE
from development import UP, Development
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE * 1000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def dev(chromium, tmp_path_factory):
    """`seaway dev` with all services, one for all tests of a file."""
    folder = tmp_path_factory.mktemp("system")
    shutil.copy(ROOT / "seaway.toml", folder)
    development = Development(folder)
    try:
        development.says(UP, within=PATIENCE)
        yield development
    finally:
        development.close()


@pytest.fixture
def visit(chromium, dev):
    """Open the page as somebody new, as often as wanted.

    Afterwards nothing may have come from elsewhere, or broken the page's own policy.
    """
    contexts, asked, complaints = [], [], []

    def complain(message):
        # That a request failed or was refused is what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_page(**options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address(dev))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(address(dev))] == []
    assert complaints == []


def address(dev):
    return f"http://127.0.0.1:{dev.port(8080)}/"
