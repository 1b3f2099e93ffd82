"""The story of the README: a listener is away while somebody signs up, and has missed nothing."""

import json
import shutil
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LISTENERS = ("welcome-email", "data-warehouse", "crm")
WITHIN = 120.0


@pytest.fixture(autouse=True)
def our_services(tmp_path):
    shutil.copy(ROOT / "seaway.toml", tmp_path)


def until(look, want):
    """Look again and again until it is as wanted."""
    give_up = time.monotonic() + WITHIN
    while (seen := look()) != want:
        assert time.monotonic() < give_up, seen
        time.sleep(0.2)


class Seen:
    """What can be seen of the listeners' work."""

    def __init__(self, dev):
        self.dev = dev

    def mails(self):
        return self.dev.seaway("mail", "list", within=WITHIN).stdout.count("\n")

    def contacts(self):
        with urlopen(f"http://127.0.0.1:{self.dev.port(8081)}/contacts", timeout=30) as answer:
            return sorted(contact["properties"]["email"] for contact in json.load(answer))

    def rows(self):
        question = "select email from users where type = 'CreateUserConfirmed' order by email"
        said = self.dev.seaway("warehouse", "query", "--json", question, within=WITHIN).stdout
        return [json.loads(line)["email"] for line in said.splitlines()]

    def everywhere(self, *emails):
        """Wait until each has a mail, a contact and a row."""
        until(self.mails, len(emails))
        until(self.contacts, list(emails))
        until(self.rows, list(emails))


def sign_up(dev, name):
    words = ("--email", f"{name.lower()}@example.org", "--name", name)
    done = dev.seaway("sign-up", *words, within=WITHIN)
    assert done.returncode == 0, done.stderr


def test_a_listener_that_was_away_has_missed_nobody(develop):
    dev = develop(SEAWAY_WAREHOUSE_BATCH_SECONDS="0.2")
    dev.says("Everything runs", within=WITHIN)
    seen, ada, bob = Seen(dev), "ada@example.org", "bob@example.org"
    sign_up(dev, "Ada")
    seen.everywhere(ada)
    for name in LISTENERS:
        assert dev.seaway("stop", name, within=WITHIN).returncode == 0
    sign_up(dev, "Bob")
    assert (seen.mails(), seen.contacts(), seen.rows()) == (1, [ada], [ada])
    for name in LISTENERS:
        assert dev.seaway("start", name, within=WITHIN).returncode == 0
    seen.everywhere(ada, bob)
    assert bob in dev.seaway("mail", "show", within=WITHIN).stdout
