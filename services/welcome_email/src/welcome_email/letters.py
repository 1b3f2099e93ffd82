"""The mails, as bytes: every word that a person chose stands in the body, and nowhere else."""

import unicodedata
from dataclasses import dataclass
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from functools import cache
from importlib.resources import files
from typing import Literal

import idna
import mrml
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected
from jinja2 import Environment, StrictUndefined, Template
from seaway import Envelope, Unprocessable

FALLBACK = "en"
LONGEST_LINE = 998
"""Of a header: it is never folded, and so never encoded in a way that hides an address."""
FORBIDDEN = '<>()[]{},;:\\"@'
"""In what stands before the @. All of it would need quotes, and nobody has such an address."""
PICTURES = 0x2400
"""␀, and after it a picture of each of the other control characters of ASCII."""
INVISIBLE = {0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF}
"""Ends of lines, and what changes the direction of everything after it."""

type Kind = Literal["greeting", "notice"]


class Headers(HeaderRegistry):
    """Makes the class of each header once.

    The standard one makes it for each header of each mail: a third of what writing one takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = super().__getitem__(name)
        return made


ASCII, UTF8 = (policy.clone(header_factory=Headers()) for policy in (SMTP, SMTPUTF8))


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail, ready to be sent."""

    sender: str
    recipient: str
    content: bytes
    needs_utf8: bool


@dataclass(frozen=True, slots=True)
class Form:
    """The words of one kind of mail in one language."""

    subject: str
    text: Template
    html: Template


@dataclass(frozen=True, slots=True)
class Letters:
    """Writes mails. The same message gives the same bytes."""

    sender: Address

    def greeting(self, message: Envelope[CreateUserConfirmed]) -> Letter:
        """Welcome a new user. Raises Unprocessable for an address that reaches nobody."""
        body = message.body
        return self._written(message, "greeting", body.email, body.locale, body.display_name)

    def notice(self, message: Envelope[CreateUserRejected]) -> Letter:
        """Say that somebody tried. Raises Unprocessable for an address that reaches nobody."""
        return self._written(message, "notice", message.body.email, message.body.locale)

    def _written(
        self,
        message: Envelope[CreateUserConfirmed] | Envelope[CreateUserRejected],
        kind: Kind,
        email: str,
        locale: str,
        name: str = "",
    ) -> Letter:
        recipient = deliverable(email)
        language = language_for(locale)
        form = forms()[language, kind]
        spec = recipient.addr_spec
        mail = EmailMessage(policy=ASCII if spec.isascii() else UTF8)
        mail["From"] = self.sender
        mail["To"] = recipient
        mail["Subject"] = form.subject
        mail["Date"] = message.stored_at or message.time
        mail["Message-ID"] = f"<{message.id}@{self.sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        values = {"name": shown(name), "company": self.sender.display_name or self.sender.domain}
        mail.set_content(form.text.render(values), cte="quoted-printable")
        mail.add_alternative(form.html.render(values), subtype="html", cte="quoted-printable")
        mail["Content-Language"] = language
        mail.set_boundary(f"={message.id}")
        content = mail.as_bytes(policy=mail.policy.clone(max_line_length=LONGEST_LINE))
        return Letter(self.sender.addr_spec, spec, content, needs_utf8=not spec.isascii())


def deliverable(email: str) -> Address:
    """Return an address as mail servers take it, its domain as DNS has it.

    Raises Unprocessable: NO_ADDRESS, or BAD_ADDRESS for one that nobody can have.
    """
    if not email:
        raise Unprocessable("NO_ADDRESS")
    local, _, domain = email.rpartition("@")
    if not local or any(
        char in FORBIDDEN or unicodedata.category(char)[0] in "CZ" for char in local
    ):
        raise Unprocessable("BAD_ADDRESS")
    try:
        ascii_domain = idna.encode(unicodedata.normalize("NFC", domain), uts46=True).decode()
        return Address(username=local, domain=ascii_domain)
    except (idna.IDNAError, ValueError):
        # Its text holds the address.
        raise Unprocessable("BAD_ADDRESS") from None


def language_for(locale: str) -> str:
    """Return the language that we write to somebody with this locale: de for de-AT."""
    language = locale.partition("-")[0].lower()
    return language if (language, "greeting") in forms() else FALLBACK


def shown(name: str) -> str:
    """Return a name as one line in which every character can be seen.

    Nothing is dropped: ␍␊ stands for the end of a line, ‹U+2028› for what has no picture.
    """
    return "".join(_seen(char) for char in name)


def _seen(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(PICTURES + code)
    if code == 0x7F:
        return "␡"
    if code in INVISIBLE or unicodedata.category(char) == "Cc":
        return f"‹U+{code:04X}›"
    return char


@cache
def forms() -> dict[tuple[str, str], Form]:
    """Return every mail that we can write, by language and kind.

    MJML is made HTML once, before anybody's name is near it; a name is escaped when it is filled
    in. A name that a template asks for and is not given is an error.
    """
    html = Environment(undefined=StrictUndefined, autoescape=True)
    text = Environment(undefined=StrictUndefined, autoescape=False)
    found = {}
    for folder in (files(__package__) / "templates").iterdir():
        for kind in ("greeting", "notice"):
            subject, _, words = (folder / f"{kind}.txt").read_text("utf-8").partition("\n\n")
            marked = mrml.to_html((folder / f"{kind}.mjml").read_text("utf-8")).content
            found[folder.name, kind] = Form(
                subject=subject.removeprefix("Subject: "),
                text=text.from_string(words),
                html=html.from_string(marked),
            )
    return found
