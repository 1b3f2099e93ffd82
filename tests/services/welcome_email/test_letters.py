"""What people are called and where they live, through a real mail server, byte by byte."""

import itertools
import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from mail_server import MailServer
from seaway import Envelope, Unprocessable
from welcome_email.letters import Letters, deliverable, forms, language_for, shown
from welcome_email.smtp import Relay

HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Language",
]
"""Every header that a mail of ours has, in this order."""

NAMES = {
    "ends of lines": ("Ada\r\nBcc: eve@example.org", "Ada␍␊Bcc: eve@example.org"),
    "NUL": ("Ada\0Lovelace", "Ada␀Lovelace"),
    "line separator": ("Ada\u2028Lovelace\u2029", "Ada‹U+2028›Lovelace‹U+2029›"),
    "next line": ("Ada\x85Lovelace", "Ada‹U+0085›Lovelace"),
    "right to left": ("Ada\u202egnp.exe", "Ada‹U+202E›gnp.exe"),
    "delete": ("Ada\x7f", "Ada␡"),
    "emoji": ("👩‍🚀" * 33 + "🎉", "👩‍🚀" * 33 + "🎉"),
    "markup": ("<script>alert('hi')</script>", "<script>alert('hi')</script>"),
    "entities": ("Ada &amp; <b>Co</b>", "Ada &amp; <b>Co</b>"),
    "template": ("{{ 7 * 7 }}{% raw %}{{ config }}", "{{ 7 * 7 }}{% raw %}{{ config }}"),
    "MJML": ("</mj-text><mj-raw>x</mj-raw>", "</mj-text><mj-raw>x</mj-raw>"),
    "a dot alone": (".", "."),
    "another language": ("Адa Лавлейс 艾达 آدا", "Адa Лавлейс 艾达 آدا"),
}

ENDS = ["\r\n", "\n", "\r", "\x85", "\u2028", "\u2029", "\0\r\n", "\v", "\f", "\x1c", "\x1e"]
ENDS += ["\r\n ", "\r\n\t", "=0D=0A", "%0d%0a", "&#13;&#10;", "\\r\\n"]
TAILS = [
    "Bcc: eve@example.org",
    "To: eve@example.org",
    "Subject: cheap",
    "Reply-To: eve@example.org",
    "Content-Type: text/html\r\n\r\n<h1>injected</h1>",
    "\r\n\r\ninjected body",
    ".\r\nMAIL FROM:<eve@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: two",
    "--{boundary}\r\nContent-Type: text/html\r\n\r\n<h1>part</h1>\r\n--{boundary}--",
    "=?utf-8?q?Bcc=3A_eve=40example.org?=",
    "=?utf-8?b?DQpCY2M6IGV2ZUBleGFtcGxlLm9yZw==?=",
    "X-Long: " + "a" * 60,
    "Auto-Submitted: no",
    "MIME-Version: 2.0",
]
CORPUS = [f"Ada{end}{tail}"[:100] for end, tail in itertools.product(ENDS, TAILS)]


class Words(HTMLParser):
    """What somebody reads, and every tag there is."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.links = "", [], []
        self.feed(html)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]


def parts(mail):
    text = mail.get_body(("plain",)).get_content()
    return text, Words(mail.get_body(("html",)).get_content())


@pytest.fixture
def greeted(server, system, confirmed, lite):
    """Greet somebody, and return the mail as it arrived."""

    async def greet(**who):
        async with system(lite) as running:
            await running.send(confirmed(**who))
            assert running.dead_letters == []
        return server.parsed()[-1]

    return greet


@pytest.mark.parametrize(("name", "seen"), NAMES.values(), ids=NAMES)
async def test_everybody_is_greeted_with_exactly_that_text(greeted, name, seen):
    text, html = parts(await greeted(name=name))
    assert f"Hello {seen}," in text.splitlines()
    assert f"Hello {seen}," in html.text
    assert "script" not in html.tags


async def test_a_mail_has_two_parts_and_says_what_it_is(greeted):
    mail = await greeted(locale="en")
    assert mail.keys() == HEADERS
    assert mail["From"] == "Acme <welcome@acme.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"<[0-9a-f-]{36}@acme\.example>", mail["Message-ID"])
    assert mail.get_content_type() == "multipart/alternative"
    assert [p.get_content_type() for p in mail.iter_parts()] == ["text/plain", "text/html"]
    assert abs((mail["Date"].datetime - datetime.now(UTC)).total_seconds()) < 60


async def test_a_mail_asks_nobody_for_anything_when_it_is_read(greeted):
    # A font or a picture from elsewhere would tell somebody that the mail was opened.
    html = (await greeted()).get_body(("html",)).get_content()
    assert Words(html).links == []
    assert "@import" not in html


async def test_no_entry_of_the_corpus_gives_a_header(server, settings, confirmed):
    """Straight to the server: raw bytes, as it has taken them."""
    assert len(CORPUS) == len(set(CORPUS)) >= 200
    told = settings(smtp_per_second=0)
    letters = Letters(told.sender)
    async with Relay(told) as relay:
        for name in CORPUS:
            async with relay.line() as line:
                await line.send(letters.greeting(Envelope.opening(confirmed(name=name), "test")))
    assert len(server.mails) == len(CORPUS)
    assert set(server.envelopes) == {("welcome@acme.example", ("ada@example.org",))}
    for raw, name in zip(server.mails, CORPUS, strict=True):
        lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert [line.partition(b":")[0].decode() for line in lines] == HEADERS, name
        mail = message_from_bytes(raw, policy=default)
        assert mail.keys() == HEADERS
        assert not mail.defects
        assert [p.get_content_type() for p in mail.walk()][1:] == ["text/plain", "text/html"]
        text, _ = parts(mail)
        assert f"Hello {shown(name)}," in text.splitlines()


@pytest.mark.parametrize("tail", [f"{e}{t}" for e in ENDS[:11] for t in TAILS[:3]])
def test_no_address_gives_a_header_either(tail):
    for email in (f"ada@example.org{tail}", f"ada{tail}@example.org", f"{tail}@example.org"):
        with pytest.raises(Unprocessable) as refused:
            deliverable(email)
        assert refused.value.reason == "BAD_ADDRESS"
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("email", "sent_to"),
    [
        ("Ada+news@Example.ORG", "Ada+news@example.org"),
        ("ada@münchen.de", "ada@xn--mnchen-3ya.de"),
        ("ada@faß.de", "ada@xn--fa-hia.de"),  # and not fass.de, which is somebody else's
        ("o'ada.{x}@example.org".replace("{x}", "x"), "o'ada.x@example.org"),
    ],
)
def test_an_address_is_written_as_its_domain_is_known_to_dns(email, sent_to):
    assert deliverable(email).addr_spec == sent_to


async def test_a_person_whose_address_is_not_ascii_gets_mail(greeted, server):
    await greeted(email="jürgen@münchen.de")
    assert "\r\nTo: jürgen@xn--mnchen-3ya.de\r\n".encode() in server.mails[-1]
    assert server.envelopes[-1][1] == ("jürgen@xn--mnchen-3ya.de",)


async def test_a_server_that_cannot_take_such_an_address_is_told_in_time(system, lite, confirmed):
    async with MailServer(utf8=False) as old, system(lite, server=old) as running:
        await running.send(confirmed(email="jürgen@example.org"))
        assert running.dead_letters == ["ADDRESS_NEEDS_SMTPUTF8"]
    assert old.mails == []


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-de", "de"),
        ("en", "en"),
        ("en-GB", "en"),
        ("", "en"),
        ("fr", "en"),
        ("tlh-Latn-x-klingon", "en"),
        ("../../etc", "en"),
        ("de\r\nBcc: x", "en"),
    ],
)
def test_everybody_is_written_to_in_a_language_that_we_have(locale, language):
    assert language_for(locale) == language


async def test_a_german_is_greeted_in_german(greeted):
    mail = await greeted(locale="de-AT", name="Jürgen")
    text, html = parts(mail)
    assert mail["Subject"] == "Willkommen"
    assert mail["Content-Language"] == "de"
    assert text.startswith("Hallo Jürgen,")
    assert "Hallo Jürgen," in html.text


def test_every_language_has_every_mail():
    languages = {language for language, _ in forms()}
    assert set(forms()) == set(itertools.product(languages, ("greeting", "notice")))
    assert languages == {"en", "de"}
    for form in forms().values():
        assert form.subject
        assert "{" not in form.subject


def test_a_value_that_a_template_lacks_is_an_error():
    form = forms()["en", "greeting"]
    for template in (form.text, form.html):
        with pytest.raises(UndefinedError):
            template.render(company="Acme")


def test_the_same_message_gives_the_same_bytes(settings, confirmed):
    letters = Letters(settings().sender)
    message = Envelope.opening(confirmed(name="Ada\u2028"), "test")
    assert letters.greeting(message) == letters.greeting(message)


def test_a_long_address_is_on_one_line(settings, confirmed):
    email = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.org"
    told = settings(mail_from=f"welcome@{'e' * 60}.{'f' * 60}.example")
    letter = Letters(told.sender).greeting(Envelope.opening(confirmed(email=email), "test"))
    assert f"To: {email}\r\n".encode() in letter.content
    assert f"@{told.sender.domain}>\r\n".encode() in letter.content
