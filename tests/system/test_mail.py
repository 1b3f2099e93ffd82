"""The mail catcher as a process, and the commands that show what it has taken."""

import asyncio
import os
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from seaway.dev.mail_catcher import MailCatcher

SEAWAY = str(Path(sys.executable).with_name("seaway"))


@pytest.fixture
def seaway(tmp_path):
    (tmp_path / "seaway.toml").write_text("[services]\n")

    def run(*words):
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith("SEAWAY_")
        }
        return subprocess.run(
            [SEAWAY, "mail", *words], cwd=tmp_path, env=ours, capture_output=True, check=False
        )

    return run


def a_mail(subject):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "us@acme.example", "ada@example.org", subject
    mail.set_content("Grüße\n")
    mail.add_alternative("<p>Grüße</p>", subtype="html")
    return mail


async def take(folder, *mails):
    """Have the catcher take these, each from a client of its own; return it."""
    async with MailCatcher(0, folder / ".seaway/mail") as catcher:
        for mail in mails:
            await asyncio.to_thread(send, catcher.port, mail)


def send(port, mail):
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.send_message(mail)


async def test_mail_is_listed_in_order_and_shown(seaway, tmp_path):
    await take(tmp_path, a_mail("First"), a_mail("Second"))
    lines = seaway("list").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert [line.split()[-1] for line in lines] == ["First", "Second"]
    newest = seaway("show").stdout.decode()
    assert "Subject: Second" in newest
    assert newest.rstrip().endswith("Grüße")
    assert "Subject: First" in seaway("show", "1").stdout.decode()
    assert seaway("show", "1", "--html").stdout.decode().strip() == "<p>Grüße</p>"
    raw = seaway("show", "1", "--raw").stdout
    (first, _) = sorted((tmp_path / ".seaway/mail").glob("*.eml"))
    assert raw == first.read_bytes()


def test_no_mail_is_no_error(seaway):
    listed = seaway("list")
    assert (listed.returncode, listed.stdout) == (0, b"")


def test_a_mail_that_is_not_there_is(seaway):
    shown = seaway("show", "3")
    assert shown.returncode == 1
    assert b"there are 0 mails" in shown.stderr
