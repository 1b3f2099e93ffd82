"""Mail that is sent once, as far as mail can promise that."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from acme.users.v1 import CreateUserConfirmed, CreateUserRejected
from acme.users.v1.address import normalised
from google.protobuf.message import Message
from seaway import Envelope, Unprocessable
from seaway.errors import DependencyDown
from seaway.failpoints import crash_here, declare

from welcome_email.counting import AMBIGUOUS
from welcome_email.ledger import Ledger, Reservation
from welcome_email.letters import Letter, Letters
from welcome_email.pace import Pace
from welcome_email.service import utc_now
from welcome_email.smtp import Deferred, Relay

log = structlog.get_logger("welcome_email.post")

declare("E2", "reserved in the ledger, the mail not yet handed over")
declare("E3", "the mail server has taken the mail, not yet recorded")


@dataclass(frozen=True, slots=True)
class ByMail:
    """Fulfils `Post` over SMTP.

    A mail is reserved in the ledger, sent, and recorded together with the reply. If it is found
    reserved, this process or another died, or was cut off, in between, and nobody knows whether
    it was sent: it is ambiguous, and sent again under the same Message-ID, or set aside.
    """

    letters: Letters
    relay: Relay
    ledger: Ledger
    resend: bool = True
    clock: Callable[[], datetime] = utc_now
    pace: Pace = field(default_factory=Pace)

    async def greet(self, message: Envelope[CreateUserConfirmed]) -> None:
        """Welcome a new user."""
        await self._send(message, self.letters.greeting(message))

    async def warn(self, message: Envelope[CreateUserRejected]) -> bool:
        """Tell the owner of an address; False if they have been told today (in UTC)."""
        letter = self.letters.notice(message)
        once = f"{hidden(letter.recipient)}/{self.clock().astimezone(UTC):%Y-%m-%d}"
        if await self._send(message, letter, once):
            return True
        await self.pace.keep()  # with no line in hand: others have mail to send
        return False

    async def _send[M: Message](
        self, message: Envelope[M], letter: Letter, once: str | None = None
    ) -> bool:
        # First the line: what waits for its turn, or for a server that is away, reserves nothing.
        async with self.relay.line() as line:
            reservation = await self.ledger.reserve(message.id, message.sequence, once)
            if reservation is Reservation.ELSEWHERE:
                return False
            if reservation is not Reservation.MADE:
                await self._judge(message, reservation)
            crash_here("E2")
            try:
                with self.pace.sending():
                    await line.send(letter)
            except (Unprocessable, Deferred, DependencyDown):
                # It was not taken. But what was ambiguous before stays so.
                if reservation is Reservation.MADE:
                    await self.ledger.release(message.id)
                raise
            crash_here("E3")
        return True

    async def _judge[M: Message](self, message: Envelope[M], reservation: Reservation) -> None:
        """Return if a mail that may have been sent is sent again; raise if it is set aside."""
        if reservation is Reservation.FOUND:
            action = "resend" if self.resend else "park"
            AMBIGUOUS.labels(action).inc()
            log.warning("ambiguous", action=action)
            if self.resend:
                return
            await self.ledger.park(message.id, message.sequence)
        raise Unprocessable("AMBIGUOUS")


def hidden(address: str) -> str:
    """Return what is the same for the spellings of one address, and does not show it."""
    return hashlib.sha256(normalised(address).encode()).hexdigest()
