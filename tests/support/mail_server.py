"""A real SMTP server that keeps raw bytes, and misbehaves when it is told to.

async with MailServer() as server:
    server.mails                      # what it has taken, as bytes, in order
    server.say("RCPT", "550 no such user")      # the next answer to RCPT, MAIL, DATA (the dot)
    server.say("RCPT", "")                      # … which is the usual one
    server.hang_up("RCPT")            # … or a cut connection: MAIL, RCPT, DATA (before the dot is
    server.hang_up("ANSWER")          #   answered, nothing kept), ANSWER (kept, and not said)
    server.seconds = 2.0              # it takes so long for each mail
"""

import asyncio
import ssl
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP as POLICY
from ipaddress import ip_address

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class MailServer:
    """Takes mail on a free port of the loopback address."""

    def __init__(self, *, tls=None, certificate=None, password=None, utf8=True):
        self.mails = []
        self.envelopes = []
        self.connections = 0
        self.most_at_once = 0
        self.open = 0
        self.port = 0
        self.logins = []
        self.seconds = 0.0
        self._answers = defaultdict(list)
        self._tls, self._certificate, self._password = tls, certificate, password
        self._utf8 = utf8
        self._server = None
        self._lines = set()

    def say(self, step, answer, times=1):
        self._answers[step] += [answer] * times

    def hang_up(self, step, times=1):
        self.say(step, None, times)

    def parsed(self):
        """Every mail that it has taken, as a mail program reads it."""
        return [message_from_bytes(raw, policy=POLICY) for raw in self.mails]

    async def __aenter__(self):
        await self.listen()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def listen(self):
        loop = asyncio.get_running_loop()
        context = server_context(self._certificate) if self._tls else None
        implicit = context if self._tls == "tls" else None

        def session():
            self.connections += 1
            line = Line(
                self,
                loop=loop,
                hostname="mail.example",
                enable_SMTPUTF8=self._utf8,
                tls_context=context if self._tls == "starttls" else None,
                require_starttls=self._tls == "starttls",
                authenticator=self._authenticate if self._password else None,
                auth_required=bool(self._password) and self._tls == "starttls",
                auth_require_tls=self._tls == "starttls",  # "tls" it does not see
                timeout=60,
            )
            self._lines.add(line)
            return line

        self._server = await loop.create_server(session, "127.0.0.1", self.port, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self):
        """Be away: nobody listens, and every connection is cut."""
        self._server.close()
        for line in self._lines:
            if line.transport:
                line.transport.abort()
        self._lines.clear()
        await asyncio.sleep(0)

    def _authenticate(self, server, session, envelope, mechanism, given):
        self.logins.append(given.login.decode())
        return AuthResult(success=given.password.decode() == self._password, handled=False)

    def _told(self, server, step):
        """What to answer now, if something was asked for; a cut connection answers nothing."""
        if not self._answers[step]:
            return None
        answer = self._answers[step].pop(0)
        if answer is None:
            server.transport.abort()
            return "451 nobody hears this"
        return answer

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        if told := self._told(server, "MAIL"):
            return told
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if told := self._told(server, "RCPT"):
            return told
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        await asyncio.sleep(self.seconds)
        if told := self._told(server, "DATA"):
            return told
        self.mails.append(envelope.original_content)
        self.envelopes.append((envelope.mail_from, tuple(envelope.rcpt_tos)))
        return self._told(server, "ANSWER") or "250 OK"


class Line(SMTP):
    """One connection."""

    def connection_made(self, transport):
        super().connection_made(transport)
        server = self.event_handler
        server.open += 1
        server.most_at_once = max(server.most_at_once, server.open)

    def connection_lost(self, error):
        self.event_handler.open -= 1
        super().connection_lost(error)


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def self_signed(path):
    """Write a key and a certificate for 127.0.0.1 into one file; return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
