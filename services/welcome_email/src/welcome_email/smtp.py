"""The mail server that takes our mail, spoken to over a few connections.

What it says is judged in one place: is it away, does it refuse this mail, may it take it later,
or does nobody know? Its own words can hold an address, so they are never passed on.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
)
from seaway.errors import DependencyDown, NotNow, SeawayError, Unprocessable

from welcome_email.counting import FAILURES
from welcome_email.letters import Letter
from welcome_email.rate import TokenBucket
from welcome_email.settings import WelcomeEmailSettings

LINE_WITHIN = 8.0
"""Seconds to have a connection in. With a mail's two times of silence, of 10 s at most, they are
fewer than a handler has: it is never cut off while nobody knows whether the mail is taken."""
CONNECT_WITHIN = 5.0
IDLE = 30.0
"""Seconds after which a connection is not used again: its other end may be gone."""
WHO_WE_ARE = 530
"""Authentication required. Whenever it is said, no mail is to blame."""
NO_SUCH_MAILBOX = (550, 551, 553)


class Deferred(NotNow):
    """The server did not take the mail, and may do so later."""


class Unconfirmed(NotNow):
    """The mail was handed over, and no answer came: nobody knows whether it was taken."""


class Relay:
    """Lines to the mail server, each used again and again, and no faster than allowed."""

    def __init__(self, settings: WelcomeEmailSettings) -> None:
        self._settings = settings
        self._room = asyncio.Semaphore(settings.smtp_connections)
        self._turn = TokenBucket(settings.smtp_per_second)
        self._idle: list[tuple[float, SMTP]] = []

    async def __aenter__(self) -> Self:
        """Do nothing: the first mail connects."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Take leave on every connection."""
        for _, client in self._idle:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=1)
            client.close()
        self._idle.clear()

    @asynccontextmanager
    async def line(self) -> AsyncIterator["Line"]:
        """Have a connection on which one mail can be sent now. Raises DependencyDown.

        So it does if all connections are in use for long: then the server is too slow for us.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(LINE_WITHIN):
                    await held.enter_async_context(self._room)
                    await self._turn.take()
                    client = await self._connected()
            except TimeoutError:
                FAILURES.labels("away").inc()
                raise DependencyDown(f"no line to the mail server in {LINE_WITHIN} s") from None
            intact = False
            try:
                yield Line(client, self._settings.smtp_timeout)
                intact = True
            except (Unprocessable, Deferred):
                intact = True
                raise
            finally:
                if intact and client.is_connected:
                    self._idle.append((time.monotonic(), client))
                else:
                    client.close()

    async def _connected(self) -> SMTP:
        while self._idle:
            since, client = self._idle.pop()
            with ExitStack() as giving_up:
                giving_up.callback(client.close)
                if time.monotonic() - since < IDLE and await _is_there(client):
                    giving_up.pop_all()
                    return client
        try:
            with ExitStack() as giving_up:
                new = self._client()  # it reads the authorities' file, which may be gone just now
                giving_up.callback(new.close)
                await new.connect()
                if new.is_ehlo_or_helo_needed:
                    await new.ehlo()
                giving_up.pop_all()
                return new
        except (SMTPException, OSError) as error:
            FAILURES.labels("away").inc()
            raise DependencyDown(f"no connection to the mail server: {_named(error)}") from None

    def _client(self) -> SMTP:
        told = self._settings
        return SMTP(
            hostname=told.smtp_host,
            port=told.smtp_port,
            timeout=min(CONNECT_WITHIN, told.smtp_timeout),
            local_hostname=told.sender.domain,
            use_tls=told.smtp_tls == "tls",
            start_tls=told.smtp_tls == "starttls",
            tls_context=ssl.create_default_context(cafile=told.smtp_ca_file or None),
            username=told.smtp_username or None,
            password=told.smtp_password.get_secret_value() or None,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One connection, for one mail."""

    client: SMTP
    timeout: float

    async def send(self, letter: Letter) -> None:
        """Send it; return when the server has taken responsibility for it.

        Raises Unconfirmed if it may have done so. After any other error it has not:
        Unprocessable if it never will, Deferred if it may later, DependencyDown if it is away.
        """
        try:
            await self._hand_over(letter)
        except (SMTPException, OSError) as error:
            reason, ours = judged(error)
            FAILURES.labels(reason).inc()
            raise ours from None

    async def _hand_over(self, letter: Letter) -> None:
        encoding, options = "ascii", list[str]()
        if letter.needs_utf8:
            if not self.client.supports_extension("smtputf8"):
                raise Unprocessable("ADDRESS_NEEDS_SMTPUTF8")
            encoding, options = "utf-8", ["SMTPUTF8"]
        async with asyncio.timeout(self.timeout):
            await self.client.mail(
                letter.sender, options=options, encoding=encoding, timeout=self.timeout
            )
            await self.client.rcpt(letter.recipient, encoding=encoding, timeout=self.timeout)
        try:
            async with asyncio.timeout(self.timeout):
                await self.client.data(letter.content, timeout=self.timeout)
        except SMTPDataError:
            raise
        except (SMTPException, OSError) as error:
            raise _Silence from error


class _Silence(SMTPException):
    """No answer to a mail that was handed over."""

    def __init__(self) -> None:
        super().__init__("no answer")


def judged(error: Exception) -> tuple[str, SeawayError]:
    """Return what a failure means, in a word for the metric and as an error."""
    match error:
        case _Silence():
            return "unconfirmed", Unconfirmed("the mail server did not answer to a mail")
        case SMTPResponseException(code=code) if code == WHO_WE_ARE:
            return "away", DependencyDown("the mail server does not know us")
        case SMTPRecipientRefused(code=code) | SMTPDataError(code=code) if code < 500:
            return "deferred", Deferred(f"the mail server said {code}")
        case SMTPRecipientRefused(code=code):
            known = code in NO_SUCH_MAILBOX
            return "refused", Unprocessable("NO_SUCH_MAILBOX" if known else "RECIPIENT_REFUSED")
        case SMTPDataError():
            return "refused", Unprocessable("MAIL_REFUSED")
        case _:
            # Said before the recipient was: it is about us, or the server, not about the mail.
            return "away", DependencyDown(f"the mail server is away: {_named(error)}")


async def _is_there(client: SMTP) -> bool:
    try:
        await client.rset(timeout=2)
    except (SMTPException, OSError):
        return False
    return True


def _named(error: Exception) -> str:
    code = getattr(error, "code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
