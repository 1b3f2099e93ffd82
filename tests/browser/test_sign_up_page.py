"""The sign-up page as people meet it: in a real Chromium, with the whole system behind it."""

import base64
import json
import os
import re
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsers import PATIENCE
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
expect.set_options(timeout=PATIENCE * 1000)

LOOKS = Path(__file__).parent / "looks"
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True}
DESK = {"viewport": {"width": 1100, "height": 800}, "reduced_motion": "reduce"}
ALIKE = 12
"""By how much of 255 the mean colour of a patch may differ."""
ELSEWISE = 0.02
"""The share of patches that may differ by more: letters are not the same on every machine."""


def an_address():
    return f"ada-{uuid4().hex[:12]}@example.org"


def sign_up(page, email, name="Ada"):
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("button", name="Sign up").click()


def reaches(page, step):
    """Wait until a step is ticked: accepted, confirmed or emailed."""
    expect(page.locator(f"#step-{step}")).to_have_attribute("data-is", "done")


def request_id_of(page):
    return json.loads(page.evaluate("sessionStorage.getItem('sign-up')"))["requestId"]


def switched(dev, verb, service):
    assert dev.seaway(verb, service, within=PATIENCE).returncode == 0


@pytest.fixture
def away(dev):
    """Return a function that stops a service; all are started again after the test."""
    stopped = []

    def stop(service):
        switched(dev, "stop", service)
        stopped.append(service)

    yield stop
    for service in stopped:
        switched(dev, "start", service)


def test_a_sign_up_by_keyboard_alone(dev, visit, capsys):
    page, email = visit(), an_address()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("Ada Lovelace")
    page.keyboard.press("Tab")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type(email)
    page.keyboard.press("Enter")
    reaches(page, "emailed")
    expect(page.get_by_role("heading", name="Check your inbox")).to_be_focused()
    expect(page.get_by_role("status").first).to_have_text(f"We have written to {email}.")
    assert page.title() == "Check your inbox · Acme"
    assert page.url == f"http://127.0.0.1:{dev.port(8080)}/"
    mails = dev.seaway("mail", "list", within=PATIENCE).stdout
    assert email in mails
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # somebody else
    expect(page.get_by_label("Name")).to_be_focused()
    assert page.get_by_label("Name").input_value() == ""
    assert page.evaluate("sessionStorage.length") == 0


def test_the_first_sign_up_from_a_cold_page(visit, capsys):
    page = visit()
    sign_up(page, an_address())
    reaches(page, "emailed")
    # From the address bar to the answer, but for what the test itself takes to fill in the form.
    # A browser notes a call when it is over.
    took = page.wait_for_function("""() => {
        const [page] = performance.getEntriesByType("navigation");
        const calls = performance.getEntriesByType("resource");
        const [call] = calls.filter(({ name }) => name.endsWith("/SignUp"));
        return call && [page.domContentLoadedEventEnd, call.responseStart - call.startTime];
    }""").json_value()
    with capsys.disabled():
        print(f"\na cold page is there after {took[0]:.0f} ms; accepted {took[1]:.0f} ms later")
    assert all(milliseconds > 0 for milliseconds in took)


def test_a_taken_address_looks_like_a_new_one(visit):
    email, seen = an_address(), []
    for _ in range(2):
        page = visit()
        # What anybody could see, in its order, however fast it passes.
        page.evaluate("""() => {
            window.shown = [];
            const status = document.getElementById("telling");
            new MutationObserver(() => {
                const text = status.innerText.replace(/\\s+/g, " ");
                if (window.shown.at(-1) !== text) window.shown.push(text);
            }).observe(status, { subtree: true, childList: true, attributes: true });
        }""")
        sign_up(page, email)
        reaches(page, "emailed")
        telling = page.locator("#telling")
        seen.append((telling.inner_html(), page.title(), page.evaluate("window.shown.at(-1)")))
    assert seen[0] == seen[1]


def test_what_is_wrong_is_said_at_its_field(visit):
    page = visit()
    sign_up(page, "ada", name="")
    name, email = page.get_by_label("Name"), page.get_by_label("E-mail address")
    expect(name).to_be_focused()  # the first that is wrong
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description(re.compile("Must be 1 to 100 characters"))
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_have_accessible_description(re.compile("Must be an e-mail address such as"))
    name.fill("Ada")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button")).to_have_text("Sign up")
    page.get_by_role("button").click()
    expect(email).to_be_focused()
    email.fill(an_address())
    page.keyboard.press("Enter")
    reaches(page, "confirmed")


def test_a_gateway_that_is_killed_is_waited_for(dev, visit, away):
    away("user-creation")
    staying, reloading = visit(), visit()
    for page in (staying, reloading):
        sign_up(page, an_address())
        reaches(page, "accepted")
    ids = [request_id_of(page) for page in (staying, reloading)]
    kill_gateway(dev)
    note = staying.get_by_text("No connection right now. Your request is safe; we keep trying.")
    expect(note).to_be_visible()
    expect(note).to_be_hidden()  # another gateway answers
    reloading.reload()
    reaches(reloading, "accepted")
    switched(dev, "start", "user-creation")
    for page in (staying, reloading):
        reaches(page, "emailed")
    assert [request_id_of(page) for page in (staying, reloading)] == ids


def kill_gateway(dev):
    """kill -9. `seaway dev` starts it again."""
    [gateway] = [p for p in dev.children() if {"-m", "gateway"} <= set(p.cmdline())]
    gateway.kill()
    psutil.wait_procs([gateway], timeout=PATIENCE)


def test_a_sign_up_begun_without_a_gateway_is_carried_out_by_the_next(dev, visit, away):
    page, email = visit(), an_address()
    away("gateway")
    sign_up(page, email)
    expect(page.get_by_text("No connection right now. We keep trying.")).to_be_visible()
    switched(dev, "start", "gateway")
    reaches(page, "emailed")
    expect(page.get_by_text(f"We have written to {email}.")).to_be_visible()


def test_while_mail_is_away_people_are_told_that_it_comes_later(dev, visit, away):
    away("welcome-email")
    page = visit()
    sign_up(page, an_address())
    reaches(page, "confirmed")
    expect(page.get_by_text("This takes longer than usual.")).to_be_visible()
    expect(page.locator("#step-emailed")).to_have_attribute("data-is", "next")
    switched(dev, "start", "welcome-email")
    reaches(page, "emailed")
    expect(page.get_by_text("This takes longer than usual.")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, away, theme):
    page = visit(color_scheme=theme, **DESK)

    def looked(where):
        found = Axe().run(page).response["violations"]
        serious = [v for v in found if v["impact"] in {"serious", "critical"}]
        assert [(where, v["id"], v["nodes"][0]["html"]) for v in serious] == []

    looked("the form")
    sign_up(page, "ada", name="")
    expect(page.get_by_label("Name")).to_be_focused()
    looked("what is wrong")
    away("welcome-email")
    sign_up(page, an_address())
    reaches(page, "confirmed")
    expect(page.get_by_text("This takes longer than usual.")).to_be_visible()
    looked("the progress")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_looks_as_it_should(visit, tmp_path, theme):
    page = visit(color_scheme=theme, **DESK)
    form = page.screenshot(path=tmp_path / "form.png")
    sign_up(page, "ada@example.org")
    reaches(page, "emailed")
    done = page.screenshot(path=tmp_path / "done.png")
    for name, seen in (("form", form), ("done", done)):
        kept = LOOKS / f"{name}-{theme}.png"
        if os.environ.get("SEAWAY_LOOKS") == "renew":
            kept.write_bytes(seen)
        pairs = list(zip(patches(page, seen), patches(page, kept.read_bytes()), strict=True))
        differ = sum(abs(ours - theirs) > ALIKE for ours, theirs in pairs) / len(pairs)
        assert differ <= ELSEWISE, f"compare {tmp_path}/{name}.png with {kept}"


def patches(page, picture):
    """The mean colours of patches of 20 by 20 pixels."""
    return page.context.new_page().evaluate(
        """async (base64) => {
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            const picture = await createImageBitmap(new Blob([bytes]));
            const [width, height] = [picture.width / 20, picture.height / 20];
            const canvas = new OffscreenCanvas(width, height).getContext("2d");
            canvas.imageSmoothingQuality = "high";
            canvas.drawImage(picture, 0, 0, width, height);
            return Array.from(canvas.getImageData(0, 0, width, height).data);
        }""",
        base64.b64encode(picture).decode(),
    )


def test_it_fits_a_small_phone(visit):
    page = visit(**PHONE)
    sign_up(page, f"{'a-rather-long-name' * 3}@{'a-very-long-domain' * 3}.example.org", name="A")
    reaches(page, "accepted")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    button = page.get_by_role("button", name="Sign up somebody else")
    assert button.bounding_box()["height"] >= 44  # large enough for a thumb
